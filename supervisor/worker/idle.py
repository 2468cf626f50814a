"""Tasks without work, and how they are called back: when a lane may be ready, or by an alarm when one is due."""

import asyncio
import math
import threading
import time

from supervisor.worker.engine import Engine
from supervisor.worker.loop import LoopThread
from supervisor.worker.overdue import Cell


class Idle(threading.Condition):
    """Takes the place of ``engine.work``: whoever notifies idle handler threads rings for idle tasks instead.

    One call to the loop stands for all that is ready when it gets there. ``cells`` needs the engine's mutex.
    """

    def __init__(self, engine: Engine, loop: LoopThread) -> None:
        super().__init__(engine.mutex)
        self._engine = engine
        self._loop = loop
        self._is_rung = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self.cells: list[Cell] = []

    def notify(self, n: int = 1) -> None:  # noqa: ARG002 - as many as there are lanes for wake up anyway
        """Have idle tasks woken if there is anything for them, or a time to be woken at; any thread, mutex held."""
        if not self.cells or self._is_rung:
            return
        engine = self._engine
        due = engine.lanes.next_due()
        if engine.lanes.ready or engine.stopping or (due is not None and due < self._alarm_at):
            self._is_rung = True
            self._loop.soon(self._rouse)

    def notify_all(self) -> None:
        """See ``notify``."""
        self.notify()

    def enter(self, cell: Cell) -> "asyncio.Future[None]":
        """Note a task as idle; what it gets ends when there may be work. Loop's thread, mutex held."""
        self.cells.append(cell)
        bell = cell.bell = self._loop.loop.create_future()
        due = self._engine.lanes.next_due()
        if due is not None:
            self._set_alarm(due)
        return bell

    def leave(self, cell: Cell) -> None:
        """Forget an idle task that woke by itself; mutex held."""
        if cell in self.cells:
            self.cells.remove(cell)

    def _rouse(self) -> None:
        """Wake as many tasks as there are lanes for; set the alarm for the next lane that is due."""
        engine = self._engine
        now = time.monotonic()
        with engine.mutex:
            self._is_rung = False
            due = engine.lanes.next_due()
            wanted = engine.lanes.ready + (due is not None and due <= now)
            count = len(self.cells) if engine.stopping else min(len(self.cells), wanted)
            woken = [self.cells.pop() for _ in range(count)]
        for cell in woken:
            if cell.bell is not None and not cell.bell.done():
                cell.bell.set_result(None)
        if due is not None and due > now:
            self._set_alarm(due)

    def _set_alarm(self, due: float) -> None:
        if due >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = self._loop.loop.call_at(due, self._ring_alarm)

    def _ring_alarm(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._rouse()
