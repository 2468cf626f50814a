"""The main thread's eye on async handlers: which one is over its time, and which one keeps the loop for itself."""

import asyncio
import math
import time
from collections.abc import Sequence

from supervisor.core.board import C_OFFSET, C_PARTITION, C_SEQUENCE, C_TOPIC, C_UNTIL, IDLE, cell_base, until_of
from supervisor.core.durations import format_duration
from supervisor.core.events import Severity
from supervisor.worker.engine import Engine
from supervisor.worker.loop import LoopThread
from supervisor.worker.stacks import stacks

LOOK = 0.25
STALL = 5.0
"""Looks that are further apart than this (seconds) mean that this thread or the machine stood still."""
STANDS = 0.1
"""Seconds without a turn of the loop from which its time counts for no handler."""
LAG = 1.0
"""Seconds without a turn of the loop from which a handler counts as blocking it."""
EVENT_EVERY = 60.0
"""Seconds between two events of a kind of one worker."""


class Cell:
    """A task and its cell of the board. ``seen`` and ``since`` are the main thread's, all else is the loop's."""

    __slots__ = ("base", "bell", "is_cancelled", "is_running", "number", "seen", "since", "task")

    def __init__(self, number: int) -> None:
        self.number = number
        self.base = cell_base(number)
        self.task: asyncio.Task[None] | None = None
        self.bell: asyncio.Future[None] | None = None
        """What it waits for while it is idle."""
        self.is_running = False
        """Whether it is in its handler now."""
        self.is_cancelled = False
        """Whether its handler was cancelled because it took too long."""
        self.seen = IDLE
        self.since = math.inf


class Overdue:
    """Times what the tasks of one worker have in their handlers, by looking: no clock is read per record."""

    def __init__(self, engine: Engine, loop: LoopThread, cells: Sequence[Cell]) -> None:
        self._engine = engine
        self._loop = loop
        self._cells = cells
        self._timeout = engine.spec.group.handler_timeout
        self._looked_at = self._told_at = self._cancelled_at = -math.inf
        self._untold = 0
        """Handlers that were cancelled since the last event of one."""

    def look(self) -> None:
        """Cancel handlers that take too long; tell of one that keeps the loop. Main thread, each tick.

        Seconds in which the loop, this thread or the machine stood still count for no handler.
        """
        lag = self._loop.lag()
        now = time.monotonic()
        gap = now - self._looked_at
        if lag > LAG:
            self._tell(lag, now)
        elif gap < min(LOOK, self._timeout / 10):
            return
        self._looked_at = now
        has_stood = gap > STALL or lag > STANDS
        words = self._engine.board.words
        for cell in self._cells:
            sequence = words[cell.base + C_SEQUENCE] if cell.is_running else IDLE
            if sequence != cell.seen:
                cell.seen, cell.since = sequence, now
            elif has_stood:
                cell.since += gap
            elif (
                sequence != IDLE
                and now - cell.since >= self._timeout
                and now >= until_of(words[cell.base + C_UNTIL], sequence)
            ):
                cell.since = math.inf
                self._loop.soon(self._cancel, cell, sequence)

    def _cancel(self, cell: Cell, sequence: int) -> None:
        """Cancel a handler, on the loop, unless it has ended meanwhile; the parent hears of it, for it may not end."""
        if cell.is_running and self._engine.board.words[cell.base + C_SEQUENCE] == sequence and cell.task is not None:
            cell.is_cancelled = True
            self._tell_cancelled(cell, cell.task)
            cell.task.cancel()
            self._engine.link.send("cancelled", cell=cell.number, sequence=sequence)

    def _tell_cancelled(self, cell: Cell, task: "asyncio.Task[None]") -> None:
        """Tell of a handler that is cancelled, and where it was; of the next ones within a while only how many."""
        now = time.monotonic()
        if now - self._cancelled_at < EVENT_EVERY:
            self._untold += 1
            return
        record, others = self._record(cell), self._untold
        self._cancelled_at, self._untold = now, 0
        self._engine.event(
            "handler.cancelled",
            Severity.WARNING,
            f"the handler of {record} took longer than {format_duration(self._timeout)} and is cancelled"
            + (f", as were {others} others since this was said last" if others else ""),
            stacks(task),
            record=record,
            others=others,
        )

    def _tell(self, lag: float, now: float) -> None:
        if now - self._told_at < EVENT_EVERY:
            return
        self._told_at = now
        task, place = asyncio.current_task(self._loop.loop), self._loop.place()
        record = next((self._record(cell) for cell in self._cells if cell.task is task), "a task of the handler's own")
        self._engine.event(
            "handler.blocks_loop",
            Severity.WARNING,
            f"{record} keeps the event loop for {format_duration(lag)} at {place}; all records of this worker wait. "
            "help: await it, or hand it to asyncio.to_thread()",
            record=record,
            at=place,
            seconds=round(lag, 1),
        )

    def _record(self, cell: Cell) -> str:
        words, base = self._engine.board.words, cell.base
        topic, partition, offset = words[base + C_TOPIC], words[base + C_PARTITION], words[base + C_OFFSET]
        with self._engine.mutex:
            topics = {owned.topic_index: owned.place[0] for owned in self._engine.owned.values()}
        return f"{topics.get(topic, '?')}/{partition}@{offset}"
