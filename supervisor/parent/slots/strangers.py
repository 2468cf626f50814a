"""Slot files that no configured slot owns: a worker of an earlier supervisor may live on behind one."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from supervisor.core.events import Severity
from supervisor.parent.deaths.crash import remove_crash_file
from supervisor.parent.slots.slotfile import SlotFile
from supervisor.parent.slots.survivors import LockWait
from supervisor.parent.store.eventlog import EventLog

MARGIN = 1.0

logger = logging.getLogger(__name__)


class Strangers:
    """Gives such workers their grace, kills what is left, and removes the files.

    They lost their parent and end by themselves; this is for those that cannot any more (P4).
    """

    def __init__(self, folder: Path, known: set[Path], *, grace: Callable[[], float], events: EventLog) -> None:
        self._loop = asyncio.get_running_loop()
        self._folder = folder
        self._known = known
        self._grace = lambda: grace() + MARGIN
        self._events = events
        self._waits: dict[Path, tuple[SlotFile, LockWait]] = {}

    def start(self) -> None:
        """Look once for files that are not ours and watch those that are held."""
        for path in sorted(self._folder.glob("*.slot")):
            if path in self._known:
                continue
            try:
                file = SlotFile(path)
            except OSError as error:
                logger.warning("parent.slot_file_refused", extra={"fields": {"file": path.name, "error": str(error)}})
                continue
            wait = LockWait(file, grace=self._grace, on_killed=self._killed)
            self._waits[path] = (file, wait)
            if wait.when_free(partial(self._remove, path)):
                self._remove(path)

    def release(self, path: Path) -> None:
        """Leave a file to a slot that is configured again: it waits for the lock itself, and the file must stay."""
        found = self._waits.pop(path, None)
        if found is not None:
            file, wait = found
            wait.cancel()
            file.close()

    def close(self) -> None:
        """Watch no longer."""
        for file, wait in self._waits.values():
            wait.cancel()
            file.close()
        self._waits.clear()

    def _remove(self, path: Path) -> None:
        file, _ = self._waits.pop(path)
        file.close()
        path.unlink(missing_ok=True)
        remove_crash_file(path)

    def _killed(self, pid: int, waited: float) -> None:
        text = f"left by an earlier supervisor in a slot that is configured no more, killed after {waited:.0f} s"
        self._events.tell("worker.exited", Severity.WARNING, text, fields={"pid": pid, "class": "survivor"})
