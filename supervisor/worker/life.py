"""One incarnation of a slot, from the first frame of its parent to its exit code; exec'd or forked."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from supervisor import __version__
from supervisor.core.board import Board, BoardWriter
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.frames import Frame
from supervisor.core.jsonable import from_json
from supervisor.core.spec import Mode, WorkerSpec
from supervisor.kafka.consumer import SettingsError
from supervisor.link import Link
from supervisor.logs import set_up_logging
from supervisor.tether import die_with_parent, take_along
from supervisor.worker.crash import CrashFile
from supervisor.worker.leaving import leave
from supervisor.worker.limits import LimitsError, set_limits
from supervisor.worker.logfile import open_log_file
from supervisor.worker.orders import Orders
from supervisor.worker.process import Ending, leave_by_force, work
from supervisor.worker.slotfile import SlotTakenError, take_slot

logger = logging.getLogger("supervisor.worker")
SPEC_PATIENCE = 10.0
LAST_WORDS = 1.0


def run(connection: socket.socket, slot_file: Path) -> int:
    """Become one incarnation of one slot, in a new interpreter or a forked one; return its exit code.

    Main thread; the process ends with it.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # for those with log files of their own
    crash = CrashFile(slot_file)
    os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 - the os API
    link = Link(connection)
    spec, early = _read_spec(link)
    if spec is None:
        return ExitCode.FAILURE
    identity = {"group": spec.group.name, "slot": spec.slot, "incarnation": spec.incarnation}
    log_file, no_file = open_log_file(spec.log_file)
    set_up_logging(spec.log_format, spec.log_level, identity)
    orders = Orders(link, early, orphan_grace=spec.orphan_grace, stop_timeout=spec.orphan_grace)
    if not die_with_parent(spec.parent_pid, bounded=True):
        logger.warning("parent.lost")
        return ExitCode.OK
    try:
        board, before = take_slot(slot_file, cells=spec.group.concurrency, incarnation=spec.incarnation)
    except SlotTakenError as error:
        link.send("bye", code=int(ExitCode.RECYCLE), reason=str(error))
        return ExitCode.RECYCLE
    except OSError as error:
        link.send("bye", code=int(ExitCode.FAILURE), reason=f"slot file: {error}")
        return ExitCode.FAILURE
    crash.keep_lines()
    if no_file:
        link.send("event", name="log_file.unusable", severity=Severity.WARNING.value, text=no_file, fields={})
    look = log_file.look if log_file else _nothing
    look()
    link.send("hello", pid=os.getpid(), version=__version__)
    end = _spend(spec, link, orders, board=board, before=before, look=look)
    level = logging.INFO if end.code is ExitCode.OK else logging.ERROR
    logger.log(level, "worker.ending", extra={"fields": {"why": end.reason}})
    link.send("bye", code=int(end.code), reason=end.reason, left=end.left)
    link.flush_until(time.monotonic() + LAST_WORDS)
    take_along(spec.parent_pid, patience=LAST_WORDS if link.lost else 0.0)
    if not end.is_tidy:
        leave_by_force(end.code)
    return end.code


def _spend(
    spec: WorkerSpec, link: Link, orders: Orders, *, board: BoardWriter, before: Board | None, look: Callable[[], None]
) -> Ending:
    """Work, or leave the group, and tell how it ended, whatever was raised."""
    try:
        if spec.mode is Mode.LEAVE:
            return leave(spec, orders)
        _limit(spec, link)
        return work(spec, board, link, orders, before=before, look=look)
    except LimitsError as error:
        return Ending(ExitCode.CONFIG, str(error))
    except SettingsError as error:
        return Ending(ExitCode.CONFIG, f"librdkafka refuses the settings: {error}", is_tidy=False)
    except BaseException as error:
        logger.critical("engine.crashed", exc_info=error)
        return Ending(ExitCode.ENGINE, f"{type(error).__name__} in the engine", is_tidy=False)


def _limit(spec: WorkerSpec, link: Link) -> None:
    outside = set_limits(spec.limits)
    if outside:
        link.send("event", name="limits.no_cgroup", severity="warning", text=outside, fields={})


def _nothing() -> None: ...


def _read_spec(link: Link) -> tuple[WorkerSpec | None, list[Frame]]:
    """Return the spec, which is the first frame, and what came with it."""
    first, *early = link.wait(time.monotonic() + SPEC_PATIENCE) or [{"type": "none"}]
    if first["type"] != "spec":
        return None, early
    return from_json(WorkerSpec, first["spec"]), early
