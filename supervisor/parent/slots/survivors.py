"""Workers that outlived an earlier supervisor: wait for them, then end them; never run a second one beside (P4)."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from supervisor.parent.slots.slotfile import UNKNOWN_HOLDER, SlotFile

LOOK = 0.05


def kill_holder(file: SlotFile, pid: int) -> bool:
    """SIGKILL ``pid`` if it still holds the slot's lock; ``False`` when it cannot be told by signal.

    The pidfd is opened first and the lock asked again: a pid that was reused in between holds no lock.
    """
    if pid == UNKNOWN_HOLDER:
        return False
    if not hasattr(os, "pidfd_open"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if file.holder() == pid:
                os.kill(pid, signal.SIGKILL)
                return True
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if file.holder() != pid:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


class LockWait:
    """Waits in the loop until a slot's lock is free; after ``grace()`` seconds the holder is killed.

    ``grace`` is asked anew at each look: a reload may change it. ``note`` says for people what is waited for.
    ``on_killed`` gets the pid, once per kill.
    """

    def __init__(self, file: SlotFile, *, grace: Callable[[], float], on_killed: Callable[[int, float], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = file
        self._grace = grace
        self._on_killed = on_killed
        self._timer: asyncio.TimerHandle | None = None
        self.note = ""

    def when_free(self, go: Callable[[], None]) -> bool:
        """Call ``go`` once the lock is free and return ``False``, or return ``True`` when it is free already."""
        if self._file.holder() is None:
            return True
        self.cancel()
        self._look(go, self._loop.time())
        return False

    def cancel(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.note = ""

    def _look(self, go: Callable[[], None], since: float) -> None:
        pid = self._file.holder()
        if pid is None:
            self.cancel()
            go()
            return
        waited = self._loop.time() - since
        who = f"pid {pid}" if pid != UNKNOWN_HOLDER else "a process outside this container"
        self.note = f"waits for {who}, left by an earlier supervisor"
        if waited >= self._grace():
            if kill_holder(self._file, pid):
                self._on_killed(pid, waited)
            since = self._loop.time()
        self._timer = self._loop.call_later(LOOK, self._look, go, since)
