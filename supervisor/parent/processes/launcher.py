"""Start child processes, each with one end of a socketpair."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from supervisor.core.slot import Rung
from supervisor.core.spec import WorkerSpec

RUNGS = {
    Rung.DUMP: signal.SIGUSR1,
    Rung.TERM: signal.SIGTERM,
    Rung.ABORT: signal.SIGABRT,
    Rung.KILL: signal.SIGKILL,
}
"""What each rung of the ladder sends."""
MARK = "KAFKA_SUPERVISOR_PID"
"""In all children's environment: ``parent.processes.subreaper`` knows by it what of theirs is left to us one day."""


@dataclass(slots=True)
class Child:
    """A process of ours that was not reaped yet.

    As long as it is not reaped its pid and process group belong to nobody else. ``popen`` is kept only so
    that the standard library does not count it as forgotten.
    """

    pid: int
    popen: subprocess.Popen[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A worker process that exists, and our end of its socketpair (non-blocking). It was told nothing yet."""

    child: Child
    connection: socket.socket


Answer = Callable[[Started | OSError], None]


class Launcher(Protocol):
    """Makes worker processes, in the parent's loop; nothing here waits."""

    def start(self, spec: WorkerSpec, slot_file: Path, answer: Answer) -> None:
        """Start one incarnation and call ``answer`` exactly once, before this returns or later.

        It gets an ``OSError`` when there is no process; then our end of the socketpair is closed, so that a
        process that came to be all the same ends, having been told nothing.
        """
        ...

    def renew(self) -> None:
        """Start from now on with what modules are on disk now; for a reload."""
        ...

    async def stop(self) -> None:
        """End the launcher's own processes, within seconds; workers live on. Nothing is started any more."""
        ...


class ExecLauncher:
    """Start each worker as a new interpreter: slower than a fork, and works everywhere."""

    def __init__(self, program: tuple[str, ...] = (sys.executable, "-P", "-m", "supervisor.worker")) -> None:
        self._program = program

    def start(self, spec: WorkerSpec, slot_file: Path, answer: Answer) -> None:  # noqa: ARG002 - told by its first frame
        """Start ``program --fd N --slot-file PATH``; answers at once."""
        try:
            child, connection = start_child(self._program, ("--slot-file", str(slot_file)))
        except OSError as error:
            answer(error)
            return
        answer(Started(child, connection))

    def renew(self) -> None:
        """Do nothing: every process imports everything anew."""

    async def stop(self) -> None:
        """Do nothing."""


def start_child(
    program: tuple[str, ...], arguments: tuple[str, ...] = (), *, kind: socket.SocketKind = socket.SOCK_STREAM
) -> tuple[Child, socket.socket]:
    """Start ``program --fd N arguments`` in its own session, so that a terminal's signals are the parent's alone.

    ``-P`` in our programs keeps the working directory off ``sys.path``: a stray ``logging.py`` there would
    be imported otherwise. No ``preexec_fn``: it would run between fork and exec.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    try:
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        command = [*program, "--fd", str(theirs.fileno()), *arguments]
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            close_fds=True,
            start_new_session=True,
            env={**os.environ, MARK: str(os.getpid())},
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Child(popen.pid, popen), ours


def reap(child: Child) -> int | None:
    """Return how the child ended (negative: by that signal), or ``None`` while it lives.

    What is left of its process group is killed first, while its pid still names the group.
    """
    found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, 9)
    _, status = os.waitpid(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if child.popen is not None:
        child.popen.returncode = code
    return code


def send_signal(child: Child, number: int, *, whole_group: bool = False) -> None:
    """Send a signal to a child that was not reaped yet; one that has just ended is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if whole_group:
            os.killpg(child.pid, number)
        os.kill(child.pid, number)
