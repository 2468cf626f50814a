"""What ``supervisor run`` runs: from a config to an exit code."""

import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from supervisor.config import Config, load
from supervisor.core.exits import ExitCode
from supervisor.core.exposition import Others
from supervisor.parent.alerts.alerting import Alerting
from supervisor.parent.alerts.alerts import Alerts
from supervisor.parent.api.accepting import Accepting
from supervisor.parent.api.alert_api import AlertApi
from supervisor.parent.api.api import ControlServer
from supervisor.parent.api.dlq_jobs import DlqJobs
from supervisor.parent.api.operator_api import OperatorApi
from supervisor.parent.groups.sizing import Sizing
from supervisor.parent.groups.spools import Spools
from supervisor.parent.inspector import Inspector
from supervisor.parent.metrics.web import Web
from supervisor.parent.plan import Plan, plan
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.forking import ZygoteLauncher
from supervisor.parent.processes.launcher import ExecLauncher, Launcher
from supervisor.parent.processes.validation import Validate, check_plugins
from supervisor.parent.running.dump import dump
from supervisor.parent.running.duty import Duty
from supervisor.parent.running.lockwatch import LockWatch
from supervisor.parent.running.logs import set_up
from supervisor.parent.running.notify import ServiceManager
from supervisor.parent.running.offsets import OffsetJobs
from supervisor.parent.running.operations import Operations
from supervisor.parent.running.places import AlreadyRunningError, ParentLock, UnsafePlaceError, make_private
from supervisor.parent.running.reload import Outside, Reloader, Replan
from supervisor.parent.running.signals import Wishes
from supervisor.parent.running.until_end import Until, UntilEnd
from supervisor.parent.store.eventlog import EventLog
from supervisor.parent.store.journal import Journal
from supervisor.parent.supervisor import Supervisor

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
    return run_plan(plan(config), until=until, replan=partial(_read_again, config.path))


def run_plan(
    plan: Plan,
    *,
    launcher: Launcher | None = None,
    validate: Validate = check_plugins,
    until: Until | None = None,
    replan: Replan | None = None,
) -> int:
    """Supervise what ``plan`` says; ``launcher`` execs workers, it and ``validate`` are for tests.

    ``replan`` reads the configuration again, for a reload; with ``until`` there is none.
    """
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
        means = _Means(launcher or ExecLauncher(), validate, replan if until is None else None, manager, lock)
        return asyncio.run(_supervise(plan, means, until=until))
    finally:
        manager.close()
        lock.release()


@dataclass(frozen=True, slots=True)
class _Means:
    """How workers are started, plugins are checked, the configuration is read again; who is told how we are."""

    launcher: Launcher
    validate: Validate
    replan: Replan | None
    manager: ServiceManager
    lock: ParentLock


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a reload changes besides slots."""

    alerts: Alerts
    alerting: Alerting
    inspector: Inspector
    journal: Journal
    web: Web


def _read_again(path: Path) -> Plan:
    return plan(load(path))


async def _supervise(plan: Plan, means: _Means, *, until: Until | None) -> int:
    wishes, exits = Wishes(), ExitWatch()
    wishes.listen()
    try:
        means.manager.status("checking plugins, handlers and Kafka settings")
        problems = await _validated(plan, exits, means.validate, wishes=wishes)
        if wishes.asked.is_set():
            return ExitCode.OK
        if problems:
            count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            return _refuse(
                ExitCode.CONFIG, f"{count} with plugins, handlers or Kafka settings\n  " + "\n  ".join(problems)
            )
        return await _run_slots(plan, means, exits, wishes=wishes, until=until)
    except OSError as error:
        return _refuse(ExitCode.FAILURE, f"cannot make a slot file or the control socket: {error}")
    finally:
        exits.close()


async def _validated(plan: Plan, exits: ExitWatch, validate: Validate, *, wishes: Wishes) -> tuple[str, ...]:
    if plan.plugins is None:
        return ()
    check = asyncio.ensure_future(validate(plan.plugins, exits))
    stop = asyncio.ensure_future(wishes.asked.wait())
    await asyncio.wait({check, stop}, return_when=asyncio.FIRST_COMPLETED)
    for task in (check, stop):
        task.cancel()
    await asyncio.wait({check, stop}, timeout=10)
    return () if check.cancelled() else check.result()


async def _run_slots(plan: Plan, means: _Means, exits: ExitWatch, *, wishes: Wishes, until: Until | None) -> int:
    events, operations = EventLog(), Operations()
    journal = Journal(plan.state_dir, plan.retention, events, grace=plan.orphan_grace + JOURNAL_MARGIN)
    alerts = Alerts(plan.notifier_program, exits=exits, events=events)
    alerting = Alerting(
        plan.alerting,
        events=events,
        offer=alerts.offer,
        state_dir=plan.state_dir,
    )
    launcher = means.launcher
    if plan.start_method == "fork":
        launcher = ZygoteLauncher(plan.zygote_program, otherwise=launcher, exits=exits, events=events)
    pulses: list[Callable[[], None]] = [alerting.pulse, alerts.pump]
    supervisor = Supervisor(plan, launcher=launcher, exits=exits, events=events, pulse=lambda: _call(pulses))
    alerting.snapshot = supervisor.snapshot
    duty = Duty(means.manager, supervisor, exits)
    events.listen(duty.hear)
    inspector = Inspector(plan.inspector if until is None else None, exits=exits, events=events)
    supervisor.lag = inspector.lag
    offsets, spools, dlq = OffsetJobs(supervisor, exits), Spools(supervisor, exits), DlqJobs(exits)
    sizing = Sizing(supervisor, is_busy=lambda group: offsets.is_resetting(group) or not operations.is_idle)
    inspector.listener = sizing.heard
    outside = replace(means, launcher=launcher)
    web = Web(supervisor, duty, partial(_others, inspector, alerts, alerting))
    parts = _Parts(alerts, alerting, inspector, journal, web)
    reloader = _reloader(supervisor, operations, outside, exits, parts=parts)
    operator = OperatorApi(supervisor, operations, reloader, dlq=dlq)
    control = ControlServer(
        supervisor, journal, plan.socket, operator=operator, offsets=offsets, alerts=AlertApi(alerting, supervisor)
    )
    pulses += [duty.pulse, LockWatch(means.lock, events).pulse, control.keep, Accepting(events).pulse, web.pulse]
    ends = UntilEnd(supervisor, until, exits) if until is not None else None
    try:
        await asyncio.gather(journal.open(), supervisor.ledger.open())
        alerting.open()
        await control.start()
        means.manager.ready()
        alerts.start(plan.notifier)
        inspector.start()
        spools.start()
        _fulfil(wishes, supervisor, reloader)
        if ends is None:
            supervisor.start()
        else:
            ends.start()
        web.listen(plan.http)
        if wishes.asked.is_set():
            supervisor.stop(wishes.by, fast=wishes.fast)
        await supervisor.finished()
    finally:
        asked_for = (operations, ends, offsets) if ends is not None else (operations, offsets)
        alerting.flush()
        for part in (*asked_for, dlq, spools, web, inspector, alerts, alerting, control):
            await part.stop()
        supervisor.close()
        await launcher.stop()
        await asyncio.gather(supervisor.ledger.close(), journal.close())
    return _outcome(supervisor, ends)


def _outcome(supervisor: Supervisor, ends: UntilEnd | None) -> int:
    if ends is not None and ends.failure():
        return _refuse(ExitCode.FAILURE, "\n  ".join([ends.failure(), *supervisor.fatal_reasons()]))
    if supervisor.exit_code is ExitCode.FAILURE:
        return _refuse(ExitCode.FAILURE, "\n  ".join(["every group was given up", *supervisor.fatal_reasons()]))
    return supervisor.exit_code


def _others(inspector: Inspector, alerts: Alerts, alerting: Alerting) -> Others:
    return Others(
        children={"inspector": inspector.child is not None, "notifier": alerts.is_running},
        alerts=dict(alerts.counts),
        alerts_dropped=alerts.dropped,
        firing=alerting.firing,
        deliveries=alerts.deliveries.counts,
        queued=alerts.deliveries.queued,
    )


def _fulfil(wishes: Wishes, supervisor: Supervisor, reloader: Reloader | None) -> None:
    wishes.supervisor = supervisor
    wishes.dump = partial(_dump, supervisor)
    wishes.reopen = partial(_reopen, supervisor)
    if reloader is not None:
        wishes.reload = reloader.request


def _call(pulses: list[Callable[[], None]]) -> None:
    for pulse in pulses:
        pulse()


def _dump(supervisor: Supervisor) -> None:
    dump(supervisor, tuple(supervisor.runners.values()))


def _reopen(supervisor: Supervisor) -> None:
    for runner in tuple(supervisor.runners.values()):
        runner.hint(signal.SIGUSR2)


def _reloader(
    supervisor: Supervisor,
    operations: Operations,
    means: _Means,
    exits: ExitWatch,
    *,
    parts: _Parts,
) -> Reloader | None:
    if means.replan is None:
        return None

    async def validate(new: Plan) -> tuple[str, ...]:
        return () if new.plugins is None else await means.validate(new.plugins, exits)

    def on_plan(new: Plan) -> None:
        means.launcher.renew()
        if new.inspector != supervisor.plan.inspector:
            parts.inspector.replan(new.inspector)
        parts.journal.retain(new.retention)
        parts.alerting.replan(new.alerting)
        parts.web.listen(new.http)
        if (new.log_format, new.log_level) != (supervisor.plan.log_format, supervisor.plan.log_level):
            set_up(new.log_format, new.log_level)

    return Reloader(supervisor, operations, Outside(means.replan, validate, parts.alerts.replace, on_plan))


def _refuse(code: ExitCode, text: str) -> int:
    print(f"supervisor: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for the person who started it
    return code
