"""What ``supervisor run`` runs: from a config to an exit code."""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from supervisor.config import Config
from supervisor.core.exits import ExitCode
from supervisor.parent.api import ControlServer
from supervisor.parent.duty import Duty
from supervisor.parent.eventlog import EventLog
from supervisor.parent.exits import ExitWatch
from supervisor.parent.forking import ZygoteLauncher
from supervisor.parent.inspector import Inspector
from supervisor.parent.journal import Journal
from supervisor.parent.launcher import ExecLauncher, Launcher
from supervisor.parent.logs import set_up
from supervisor.parent.notifier import Notifier
from supervisor.parent.notify import ServiceManager
from supervisor.parent.offsets import OffsetJobs
from supervisor.parent.places import AlreadyRunningError, ParentLock, UnsafePlaceError, make_private
from supervisor.parent.plan import Plan, plan
from supervisor.parent.supervisor import Supervisor
from supervisor.parent.until_end import Until, UntilEnd
from supervisor.parent.validation import Validate, check_plugins

logger = logging.getLogger(__name__)
JOURNAL_MARGIN = 6.0
"""Seconds beyond a survivor's grace after which its end is taken for granted: it was killed by then."""


def run(config: Config, until: Until | None = None) -> int:
    """Supervise until told to stop, or ``until`` the ends are reached; return the process's exit code.

    Blocks, on the main thread. Problems that keep it from starting are printed to stderr: 73 when another
    supervisor runs here, 78 for plugins, handlers and folders that are not right, 1 when in the end every
    slot of every group was given up, or the ends were not reached.
    """
    faulthandler.enable()  # what a wedged loop is in, when systemd's watchdog sends SIGABRT
    set_up(config.supervisor.log_format, config.supervisor.log_level)
    return run_plan(plan(config), until=until)


def run_plan(
    plan: Plan,
    *,
    launcher: Launcher | None = None,
    validate: Validate = check_plugins,
    until: Until | None = None,
) -> int:
    """Supervise what ``plan`` says; ``launcher`` execs workers, it and ``validate`` are for tests."""
    if until is not None and until.groups:
        plan = replace(plan, groups=tuple(group for group in plan.groups if group.name in until.groups))
    try:
        make_private(plan.runtime_dir)
        make_private(plan.state_dir)
        lock = ParentLock(plan.lock)
    except UnsafePlaceError as error:
        return _refuse(ExitCode.CONFIG, str(error))
    except AlreadyRunningError as error:
        return _refuse(ExitCode.ALREADY_RUNNING, str(error))
    manager = ServiceManager.from_environment(os.environ)
    try:
        return asyncio.run(_supervise(plan, launcher or ExecLauncher(), validate, manager=manager, until=until))
    finally:
        manager.close()
        lock.release()


@dataclass(slots=True)
class _Wishes:
    """What signals ask for, before and after there is a supervisor to ask."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    supervisor: Supervisor | None = None
    by: str = ""
    interrupts: int = 0

    def take(self, number: signal.Signals) -> None:
        self.interrupts += number == signal.SIGINT
        self.by = self.by or number.name
        self.asked.set()
        if self.supervisor is not None:
            self.supervisor.stop(number.name, fast=self.interrupts > 1)

    def hang_up(self) -> None:
        """Outlive the terminal's end only when there was none."""
        if sys.stderr.isatty():
            self.take(signal.SIGHUP)
        else:
            logger.warning("supervisor.hangup_ignored", extra={"fields": {"text": "reload is not supported yet"}})


async def _supervise(
    plan: Plan, launcher: Launcher, validate: Validate, *, manager: ServiceManager, until: Until | None
) -> int:
    loop, wishes, exits = asyncio.get_running_loop(), _Wishes(), ExitWatch()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, wishes.take, number)
    loop.add_signal_handler(signal.SIGHUP, wishes.hang_up)
    try:
        manager.status("checking plugins, handlers and Kafka settings")
        problems = await _validated(plan, exits, validate, wishes=wishes)
        if wishes.asked.is_set():
            return ExitCode.OK
        if problems:
            count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            return _refuse(
                ExitCode.CONFIG, f"{count} with plugins, handlers or Kafka settings\n  " + "\n  ".join(problems)
            )
        return await _run_slots(plan, launcher, exits, wishes=wishes, manager=manager, until=until)
    except OSError as error:
        return _refuse(ExitCode.FAILURE, f"cannot make a slot file or the control socket: {error}")
    finally:
        exits.close()


async def _validated(plan: Plan, exits: ExitWatch, validate: Validate, *, wishes: _Wishes) -> tuple[str, ...]:
    if plan.plugins is None:
        return ()
    check = asyncio.ensure_future(validate(plan.plugins, exits))
    stop = asyncio.ensure_future(wishes.asked.wait())
    await asyncio.wait({check, stop}, return_when=asyncio.FIRST_COMPLETED)
    for task in (check, stop):
        task.cancel()
    await asyncio.wait({check, stop}, timeout=10)
    return () if check.cancelled() else check.result()


async def _run_slots(
    plan: Plan,
    launcher: Launcher,
    exits: ExitWatch,
    *,
    wishes: _Wishes,
    manager: ServiceManager,
    until: Until | None,
) -> int:
    events = EventLog()
    journal = Journal(plan.state_dir, plan.retention, events, grace=plan.orphan_grace + JOURNAL_MARGIN)
    notifier = None
    if plan.notifier is not None:
        notifier = Notifier(plan.notifier, plan.notifier_program, exits=exits, events=events)
    if plan.start_method == "fork":
        launcher = ZygoteLauncher(plan.zygote_program, otherwise=launcher, exits=exits, events=events)
    pulses: list[Callable[[], None]] = [notifier.pump] if notifier is not None else []
    supervisor = Supervisor(plan, launcher=launcher, exits=exits, events=events, pulse=lambda: _call(pulses))
    duty = Duty(manager, supervisor, exits)
    pulses.append(duty.pulse)
    events.listen(duty.hear)
    inspector = Inspector(plan.inspector if until is None else None, exits=exits, events=events)
    supervisor.lag = inspector.lag
    offsets = OffsetJobs(supervisor, exits)
    control = ControlServer(supervisor, journal, plan.socket, offsets=offsets)
    ends = UntilEnd(supervisor, until, exits) if until is not None else None
    try:
        await journal.open()
        await control.start()
        manager.ready()
        if notifier is not None:
            notifier.start()
        inspector.start()
        wishes.supervisor = supervisor
        if ends is None:
            supervisor.start()
        else:
            ends.start()
        if wishes.asked.is_set():
            supervisor.stop(wishes.by)
        await supervisor.finished()
    finally:
        if ends is not None:
            await ends.stop()
        await offsets.stop()
        await inspector.stop()
        if notifier is not None:
            await notifier.stop()
        await control.stop()
        supervisor.close()
        await launcher.stop()
        await journal.close()
    if ends is not None and ends.failure():
        return _refuse(ExitCode.FAILURE, "\n  ".join([ends.failure(), *supervisor.fatal_reasons()]))
    if supervisor.exit_code is ExitCode.FAILURE:
        return _refuse(ExitCode.FAILURE, "\n  ".join(["every group was given up", *supervisor.fatal_reasons()]))
    return supervisor.exit_code


def _call(pulses: list[Callable[[], None]]) -> None:
    for pulse in pulses:
        pulse()


def _refuse(code: ExitCode, text: str) -> int:
    print(f"supervisor: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for the person who started it
    return code
