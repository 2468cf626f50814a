"""``python -m supervisor.worker --fd N --slot-file PATH``: started by the parent, never by hand."""

import argparse
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from supervisor import __version__
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.frames import Frame
from supervisor.core.jsonable import from_json
from supervisor.core.spec import Mode, WorkerSpec
from supervisor.kafka.consumer import SettingsError
from supervisor.link import Link
from supervisor.logs import set_up_logging
from supervisor.tether import die_with_parent
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


def main() -> int:
    """Become one incarnation of one slot; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m supervisor.worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--slot-file", type=Path, required=True)
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    crash = CrashFile(arguments.slot_file)
    link = Link(socket.socket(fileno=arguments.fd))
    os.set_inheritable(arguments.fd, False)  # noqa: FBT003 - the os API
    spec, early = _read_spec(link)
    if spec is None:
        return ExitCode.FAILURE
    identity = {"group": spec.group.name, "slot": spec.slot, "incarnation": spec.incarnation}
    log_file, no_file = open_log_file(spec.log_file)
    set_up_logging(spec.log_format, spec.log_level, identity)
    orders = Orders(link, early, orphan_grace=spec.orphan_grace, stop_timeout=spec.orphan_grace)
    if not die_with_parent(spec.parent_pid):
        logger.warning("parent.lost")
        return ExitCode.OK
    try:
        board, before = take_slot(arguments.slot_file, cells=spec.group.concurrency, incarnation=spec.incarnation)
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
    try:
        if spec.mode is Mode.LEAVE:
            end = leave(spec, orders)
        else:
            _limit(spec, link)
            end = work(spec, board, link, orders, before=before, look=look)
    except LimitsError as error:
        end = Ending(ExitCode.CONFIG, str(error))
    except SettingsError as error:
        end = Ending(ExitCode.CONFIG, f"librdkafka refuses the settings: {error}", is_tidy=False)
    except BaseException as error:
        logger.critical("engine.crashed", exc_info=error)
        end = Ending(ExitCode.ENGINE, f"{type(error).__name__} in the engine", is_tidy=False)
    level = logging.INFO if end.code is ExitCode.OK else logging.ERROR
    logger.log(level, "worker.ending", extra={"fields": {"why": end.reason}})
    link.send("bye", code=int(end.code), reason=end.reason, left=end.left)
    link.flush_until(time.monotonic() + LAST_WORDS)
    if not end.is_tidy:
        leave_by_force(end.code)
    return end.code


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


if __name__ == "__main__":
    sys.exit(main())
