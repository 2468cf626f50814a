"""Children that we did not start: a subreaper (prctl(2)) is given what its descendants leave behind (Linux)."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.launcher import MARK

PR_SET_CHILD_SUBREAPER = 36
SOON = 0.2
REST = 5.0
GRACE = 5.0
"""Seconds that a process gets which a worker left behind; one that the zygote forked for nobody ends by itself."""

logger = logging.getLogger(__name__)


def become_subreaper() -> None:
    """Have descendants that lose their parent become our children; raise ``OSError`` when the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Adopted:
    """Ends and reaps what was left to us (P4), and never touches what somebody here waits for.

    A process that ended is reaped, and what is left of its process group killed. One that lives is killed after
    a grace if it comes from a worker; others that were here before us, or come with being a container's first
    process, live on. While a worker is being started nothing unknown is touched: it may be that worker.
    """

    def __init__(self, exits: ExitWatch, is_starting: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._exits = exits
        self._is_starting = is_starting
        self._not_ours = set(_children())
        self._seen: dict[int, float] = {}
        self._timer = self._loop.call_later(REST, self._sweep)
        exits.after = self.soon

    def soon(self) -> None:
        """Look in a moment."""
        at = self._loop.time() + SOON
        if self._timer.when() > at:
            self._timer.cancel()
            self._timer = self._loop.call_at(at, self._sweep)

    def close(self) -> None:
        """Look no longer."""
        self._timer.cancel()

    def end_all(self) -> bool:
        """Kill what workers left to us, without grace: there are no workers any more. Tell whether nothing is left.

        To be asked again until it says so: what is killed may leave us its own children.
        """
        self._reap(starting=False)
        try:
            strangers = [pid for pid in self._strangers() if _is_marked(pid)]
        except OSError:  # no descriptor left to look with
            return False
        for pid in strangers:
            _end(pid)
        return not strangers

    def _sweep(self) -> None:
        starting = self._is_starting()
        self._timer = self._loop.call_later(SOON if starting else REST, self._sweep)
        self._reap(starting=starting)
        if not starting:
            self._end_living()

    def _reap(self, *, starting: bool) -> None:
        while (pid := _ended()) is not None:
            if self._exits.knows(pid):
                self._exits.look(pid)
                continue
            if starting:
                return
            if pid not in self._not_ours:
                _kill_group(pid)
            self._not_ours.discard(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _end_living(self) -> None:
        now = self._loop.time()
        try:
            strangers = self._strangers()
        except OSError:  # no descriptor left to look with: the next sweep will
            return
        self._seen = {pid: self._seen.get(pid, now) for pid in strangers}
        for pid, since in self._seen.items():
            if now - since >= GRACE and _is_marked(pid):
                _end(pid)
                self.soon()

    def _strangers(self) -> list[int]:
        return [pid for pid in _children() if pid not in self._not_ours and not self._exits.knows(pid)]


def _end(pid: int) -> None:
    logger.warning("parent.orphan_killed", extra={"fields": {"pid": pid, "command": _command(pid)}})
    _kill_group(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _ended() -> int | None:
    """Return a child that has ended and was not reaped; it stays as it is."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _kill_group(pid: int) -> None:
    """Kill the process group that ``pid`` leads, if it leads one: as long as it is not reaped the number is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _children() -> list[int]:
    """Return our children's pids, ended ones included; none where the kernel does not say (proc(5))."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def _is_marked(pid: int) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={os.getpid()}".encode() in environment.split(b"\0")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
