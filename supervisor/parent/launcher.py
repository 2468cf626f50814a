"""Start child processes, each with one end of a socketpair."""

import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from supervisor.core.spec import WorkerSpec


@dataclass(slots=True)
class Child:
    """A process of ours that was not reaped yet.

    As long as it is not reaped its pid and process group belong to nobody else. ``popen`` is kept only so
    that the standard library does not count it as forgotten.
    """

    pid: int
    popen: subprocess.Popen[bytes] | None = None


class Launcher(Protocol):
    """Makes worker processes; a fork server can take the place of ``ExecLauncher``."""

    def start(self, spec: WorkerSpec, slot_file: Path) -> tuple[Child, socket.socket]:
        """Start one incarnation and return it with our end of its socketpair (non-blocking).

        Called in the parent's loop, so it must not wait. Raises ``OSError``.
        """
        ...


class ExecLauncher:
    """Start each worker as a new interpreter: slower than a fork, and works everywhere."""

    def __init__(self, program: tuple[str, ...] = (sys.executable, "-P", "-m", "supervisor.worker")) -> None:
        self._program = program

    def start(self, spec: WorkerSpec, slot_file: Path) -> tuple[Child, socket.socket]:  # noqa: ARG002 - told by its first frame
        """Start ``program --fd N --slot-file PATH``."""
        return start_child(self._program, ("--slot-file", str(slot_file)))


def start_child(program: tuple[str, ...], arguments: tuple[str, ...] = ()) -> tuple[Child, socket.socket]:
    """Start ``program --fd N arguments`` in its own session, so that a terminal's signals are the parent's alone.

    ``-P`` in our programs keeps the working directory off ``sys.path``: a stray ``logging.py`` there would
    be imported otherwise. No ``preexec_fn``: it would run between fork and exec.
    """
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)  # noqa: FBT003 - the standard library's signature
        command = [*program, "--fd", str(theirs.fileno()), *arguments]
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), close_fds=True, start_new_session=True
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
