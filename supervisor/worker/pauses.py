"""Records that had their group paused (``Pause``): they wait until an operator has it go on."""

import time

from supervisor.core.lane import Lane
from supervisor.plugin.types import Record
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Item

LONGEST = 86400.0
"""Seconds after which such a record is tried again though nobody resumed: nothing waits without a deadline (P8)."""
PATIENCE = 5.0
"""Seconds in which the parent pauses a group that it was asked to pause; then it is asked again."""


class Pauses:
    """What one worker asked its parent to pause for. ``lanes`` needs the engine's mutex."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked_at = float("-inf")
        self._asked = ("", "")
        self.lanes: set[Lane[Item]] = set()

    def ask(self, record: Record, reason: str) -> None:
        """Have the group paused, unless that was asked for just now or is so. Any thread, mutex not held."""
        asked = f"{record.topic}/{record.partition}@{record.offset}", reason
        now = time.monotonic()
        with self._engine.mutex:
            if self._engine.on_hold or now - self._asked_at < PATIENCE:
                return
            self._asked_at, self._asked = now, asked
        self._send()

    def look(self) -> None:
        """Ask again when nothing came of it. Main thread, each tick."""
        engine = self._engine
        if not self.lanes:
            return
        now = time.monotonic()
        with engine.mutex:
            self.lanes = {lane for lane in self.lanes if lane.items}
            if not self.lanes or engine.on_hold or engine.stopping or now - self._asked_at < PATIENCE:
                return
            self._asked_at = now
        self._send()

    def resumed(self) -> None:
        """Have the records that waited tried again. Main thread."""
        engine, now = self._engine, time.monotonic()
        with engine.mutex:
            self._asked_at = float("-inf")
            for lane in self.lanes:
                engine.lanes.hasten(lane, due=now)
            self.lanes.clear()
            engine.work.notify_all()

    def _send(self) -> None:
        record, reason = self._asked
        self._engine.link.send("pause", record=record, reason=reason)
