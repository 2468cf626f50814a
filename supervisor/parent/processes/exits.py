"""Notice the end of children: by pidfd where there is one, else by looking at each a few times a second."""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.parent.processes.launcher import Child, reap

SWEEP = 0.2
SAFETY_SWEEP = 5.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watched:
    child: Child
    on_exit: Callable[[int], None]
    pidfd: int | None


class ExitWatch:
    """Calls back once per child, in the loop, with its exit status; the child is reaped by then.

    Only children that were given to ``watch`` are waited for, never "any": whoever else starts a process
    here keeps its exit. A slow sweep over all of them catches what a lost wake-up would hide.
    """

    def __init__(self, *, use_pidfd: bool = hasattr(os, "pidfd_open")) -> None:
        self._loop = asyncio.get_running_loop()
        self._use_pidfd = use_pidfd
        self._watched: dict[int, _Watched] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.next_sweep = self._loop.time()
        self.after: Callable[[], None] = lambda: None
        """Called after each exit: what the dead left behind may be ours now."""
        self._schedule()

    def knows(self, pid: int) -> bool:
        """Tell whether ``pid`` is a child that is watched, living or not reaped yet."""
        return pid in self._watched

    def look(self, pid: int) -> None:
        """Reap the child ``pid`` now, if it is watched and has ended."""
        self._look(pid)

    def watch(self, child: Child, on_exit: Callable[[int], None]) -> None:
        """Call ``on_exit`` with the status as soon as ``child`` has ended."""
        pidfd = self._open(child.pid)
        self._watched[child.pid] = _Watched(child, on_exit, pidfd)
        if pidfd is not None:
            self._loop.add_reader(pidfd, self._look, child.pid)
        else:
            self._schedule()

    def close(self) -> None:
        """Stop watching; children that live on are nobody's any more."""
        if self._timer is not None:
            self._timer.cancel()
        for watched in self._watched.values():
            self._forget(watched)
        self._watched.clear()

    def _open(self, pid: int) -> int | None:
        if not self._use_pidfd:
            return None
        try:
            return os.pidfd_open(pid)
        except OSError as error:
            logger.warning("parent.pidfd_failed", extra={"fields": {"pid": pid, "error": str(error)}})
            return None

    def _look(self, pid: int) -> None:
        watched = self._watched.get(pid)
        if watched is None:
            return
        status = reap(watched.child)
        if status is not None:
            del self._watched[pid]
            self._forget(watched)
            watched.on_exit(status)
            self.after()

    def _forget(self, watched: _Watched) -> None:
        if watched.pidfd is not None:
            self._loop.remove_reader(watched.pidfd)
            os.close(watched.pidfd)

    def _sweep(self) -> None:
        for pid in list(self._watched):
            self._look(pid)
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        blind = any(watched.pidfd is None for watched in self._watched.values())
        self.next_sweep = self._loop.time() + (SWEEP if blind else SAFETY_SWEEP)
        self._timer = self._loop.call_at(self.next_sweep, self._sweep)
