"""The executor of ``async def`` handlers: long-lived tasks of one event loop that pull from the lanes.

The main thread polls, never the loop's: a poll blocks, and rebalances wait in it. Records pass from one to the
other through the lanes alone; no task, future or call across threads is made per record. What may block beside
the handler itself (retry policies, sinks) runs in a few threads of its own.
"""

import asyncio
import math
import threading
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, cast

from supervisor.core.board import (
    C_ATTEMPT,
    C_LAST_OFFSET,
    C_OFFSET,
    C_PARTITION,
    C_SEQUENCE,
    C_THREAD,
    C_TOPIC,
    H_CANCELS,
    IDLE,
    cell_base,
)
from supervisor.core.durations import format_duration
from supervisor.core.events import Severity
from supervisor.core.lanes import Lane
from supervisor.plugin.active import Active
from supervisor.plugin.types import Record
from supervisor.worker.calling import HandlerTimeoutError, WrongReturnError, batch_outcomes
from supervisor.worker.committer import Committer
from supervisor.worker.engine import MAIN, Engine, Item
from supervisor.worker.loop import LoopThread, join_named
from supervisor.worker.outcomes import Outcomes
from supervisor.worker.poller import CHUNK, Poller

POLL_WAIT = 0.05
STAND_IN_AFTER = 0.05
TURN = 0.02
"""Seconds the main thread may poll on end before it looks at its other duties."""
ROOM_WAIT = 0.01
STREAK = 16
"""Records a task may work before the loop gets a turn, for handlers that never wait."""
OUTSIDE = 4
"""Threads for retry policies and sinks, which may block."""
LOOK = 0.25
STALL = 5.0
STANDS = 0.1
"""Seconds without a turn of the loop from which its time counts for no handler."""
LAG = 1.0
"""Seconds without a turn of the loop from which a handler counts as blocking it."""
LAG_EVENT = 60.0
CLOSE_TIMEOUT = 5.0


class _Cell:
    """A task and its cell of the board. ``seen`` and ``since`` are the main thread's, all else is the loop's."""

    __slots__ = ("base", "bell", "is_cancelled", "is_running", "seen", "since", "task")

    def __init__(self, number: int) -> None:
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


class _Bell(threading.Condition):
    """What the engine notifies when a lane may be ready: rings for idle tasks instead of idle threads."""

    def __init__(self, mutex: threading.Lock, ring: Callable[[], None]) -> None:
        super().__init__(mutex)
        self._ring = ring

    def notify(self, n: int = 1) -> None:  # noqa: ARG002 - as many as there are lanes for wake up anyway
        self._ring()

    def notify_all(self) -> None:
        self._ring()


class TaskExecutor:
    """The tasks of one worker, ``concurrency`` of them. Methods are the main thread's, which also polls."""

    def __init__(
        self, engine: Engine, active: Active, *, poller: Poller, committer: Committer, outcomes: Outcomes
    ) -> None:
        group = engine.spec.group
        self._engine = engine
        self._poller = poller
        self._committer = committer
        self._outcomes = outcomes
        self._process = cast("Callable[[Record], Awaitable[object]] | None", active.process)
        self._batch = cast("Callable[[Sequence[Record]], Awaitable[object]] | None", active.process_batch)
        self._timeout = group.handler_timeout
        self._room = min(group.queue_records // 2, max(2 * CHUNK, 4 * group.concurrency))
        """With fewer records in lanes the main thread polls for more at once."""
        self._cells = [_Cell(number) for number in range(group.concurrency)]
        self._loop = LoopThread(self._crash)
        self._outside = ThreadPoolExecutor(min(OUTSIDE, group.concurrency), thread_name_prefix="outcomes")
        self._idle: list[_Cell] = []
        self._is_rung = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._has_started = self._is_ending = False
        self._live = 0
        self._ended = threading.Event()
        self._looked_at = self._lag_told_at = -math.inf
        engine.work = _Bell(engine.mutex, self._ring)
        active.run_handler_on(self._call)

    def start(self) -> None:
        """Start the loop and its tasks."""
        self._loop.start()
        self._engine.board.words[H_CANCELS] = 1
        self._live = len(self._cells)
        self._has_started = True
        self._loop.soon(self._begin)

    def cancel(self, deadline: float) -> None:
        """Cancel what is left in a handler, unsettled; wait until all tasks ended, or ``deadline`` (monotonic)."""
        if self._has_started:
            self._loop.soon(self._end)
            self._ended.wait(max(0.0, deadline - time.monotonic()))

    def join(self, deadline: float) -> bool:
        """End the loop, until ``deadline`` (monotonic); return whether all threads ended."""
        is_over = self._loop.stop(deadline)
        self._outside.shutdown(wait=False, cancel_futures=True)
        return join_named("outcomes", deadline) and is_over

    def tick(self) -> float:
        """Return the seconds the main thread may wait for orders: none while there is room, for it waits polling."""
        return 0.0 if self._has_room() else ROOM_WAIT

    def stand_in(self) -> None:
        """Poll while there is room, and often enough for membership when there is none."""
        engine = self._engine
        until = time.monotonic() + TURN
        with engine.mutex:
            if not self._has_room() and time.monotonic() - engine.polled_at < STAND_IN_AFTER:
                return
            engine.poller = MAIN
        while True:
            waits = self._has_room() and not engine.stopping
            messages = self._poller.poll(POLL_WAIT if waits else 0.0)
            self._poller.accept(messages, cell=None)
            self._committer.if_due()
            self.wake()
            if not messages or time.monotonic() >= until or not self._has_room():
                break
        with engine.mutex:
            engine.release_baton()

    def wake(self) -> None:
        """Ring for idle tasks if there is anything for them."""
        with self._engine.mutex:
            self._ring()

    def steal(self, *, drop: bool = False) -> None:
        """Do nothing: no chunk is in anybody's hands."""

    def watch(self) -> None:
        """Cancel handlers that take too long; tell of one that keeps the loop. Each tick.

        Seconds in which the loop, this thread or the machine stood still count for no handler.
        """
        lag = self._loop.lag()
        now = time.monotonic()
        gap = now - self._looked_at
        if lag > LAG:
            self._tell_lag(lag, now)
        elif gap < min(LOOK, self._timeout / 10):
            return
        self._looked_at = now
        stood = gap > STALL or lag > STANDS
        words = self._engine.board.words
        for cell in self._cells:
            sequence = words[cell.base + C_SEQUENCE] if cell.is_running else IDLE
            if sequence != cell.seen:
                cell.seen, cell.since = sequence, now
            elif stood:
                cell.since += gap
            elif sequence != IDLE and now - cell.since >= self._timeout:
                cell.since = math.inf
                self._loop.soon(self._cancel, cell, sequence)

    # --- the main thread ----------------------------------------------------------------------------------

    def _crash(self, error: BaseException) -> None:
        self._engine.crash(error)

    def _call(self, function: Callable[..., object], *args: object) -> object:
        """Call the handler's ``open`` (bounded by the parent's ``start_timeout``) or ``close`` on the loop."""
        self._loop.start()
        return self._loop.call(function, *args, timeout=CLOSE_TIMEOUT if self._has_started else None)

    def _has_room(self) -> bool:
        lanes, group = self._engine.lanes, self._engine.spec.group  # two numbers, read whole: no mutex
        return lanes.count < self._room and lanes.size < group.queue_bytes // 2

    def _tell_lag(self, lag: float, now: float) -> None:
        if now - self._lag_told_at < LAG_EVENT:
            return
        self._lag_told_at = now
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

    def _record(self, cell: _Cell) -> str:
        words, base = self._engine.board.words, cell.base
        topic, partition, offset = words[base + C_TOPIC], words[base + C_PARTITION], words[base + C_OFFSET]
        with self._engine.mutex:
            topics = {owned.topic_index: owned.place[0] for owned in self._engine.owned.values()}
        return f"{topics.get(topic, '?')}/{partition}@{offset}"

    # --- the loop's thread --------------------------------------------------------------------------------

    def _begin(self) -> None:
        words, thread = self._engine.board.words, threading.get_native_id()
        for number, cell in enumerate(self._cells):
            words[cell.base + C_THREAD], words[cell.base + C_LAST_OFFSET] = thread, IDLE
            work = self._work_records(cell) if self._batch is None else self._work_batches(cell)
            cell.task = self._loop.loop.create_task(work, name=f"handler-{number}")
            cell.task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not self._is_ending and (task.cancelled() or task.exception() is not None):
            self._crash(CancelledError() if task.cancelled() else cast("BaseException", task.exception()))
        self._live -= 1
        if not self._live:
            self._ended.set()

    def _end(self) -> None:
        self._is_ending = True
        for cell in self._cells:
            if cell.task is not None:
                cell.task.cancel()

    def _cancel(self, cell: _Cell, sequence: int) -> None:
        if cell.is_running and self._engine.board.words[cell.base + C_SEQUENCE] == sequence and cell.task is not None:
            cell.is_cancelled = True
            cell.task.cancel()

    def _ring(self) -> None:
        """Have the loop wake idle tasks if there is anything for them, or a time to be woken at; mutex held."""
        if not self._idle or self._is_rung:
            return
        engine = self._engine
        due = engine.lanes.next_due()
        if engine.lanes.ready or engine.stopping or (due is not None and due < self._alarm_at):
            self._is_rung = True
            self._loop.soon(self._rouse)

    def _rouse(self) -> None:
        """Wake as many idle tasks as there are lanes for; set the alarm for the next that is due."""
        engine = self._engine
        now = time.monotonic()
        with engine.mutex:
            self._is_rung = False
            due = engine.lanes.next_due()
            wanted = engine.lanes.ready + (due is not None and due <= now)
            count = len(self._idle) if engine.stopping else min(len(self._idle), wanted)
            woken = [self._idle.pop() for _ in range(count)]
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
        self._alarm = self._loop.loop.call_at(due, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._rouse()

    async def _next(self, cell: _Cell) -> Lane[Item] | None:
        """Return a lane to work, ``None`` when the task should end. Waits for one, however often it is cancelled."""
        engine = self._engine
        while True:
            with engine.mutex:
                lane = engine.lanes.take(now=time.monotonic())
                if lane is not None:
                    self._ring()
                    return lane
                if engine.stopping or self._is_ending:
                    return None
                self._idle.append(cell)
                bell = cell.bell = self._loop.loop.create_future()
                due = engine.lanes.next_due()
            if due is not None:
                self._set_alarm(due)
            try:
                await bell
            except CancelledError:
                self._not_heard(cell)
                with engine.mutex:
                    if cell in self._idle:
                        self._idle.remove(cell)

    async def _work_records(self, cell: _Cell) -> None:  # noqa: C901 - the hot path: one function, local names
        """Work records one by one, each from the lane that waits longest, until there is nothing left to do."""
        engine, process, task = self._engine, self._process, cell.task
        assert process is not None  # noqa: S101 - the caller looked
        assert task is not None  # noqa: S101 - it runs this
        mutex, exchange, idle, new, clock = engine.mutex, engine.exchange, self._idle, Record, time.monotonic
        words, base = engine.board.words, cell.base
        at_offset, at_topic, at_partition = base + C_OFFSET, base + C_TOPIC, base + C_PARTITION
        at_sequence, at_attempt = base + C_SEQUENCE, base + C_ATTEMPT
        sequence, streak = words[at_sequence], 0
        lane: Lane[Item] | None = None
        while True:
            if lane is None:
                lane = await self._next(cell)
                if lane is None:
                    return
            streak += 1
            if streak >= STREAK:
                streak = 0
                await self._turn(cell)
            if lane.letter is not None:
                await self._send_again(cell, lane)
                sequence, lane = words[at_sequence], None
                continue
            owned, message = lane.items[0][0]
            words[at_sequence] = sequence = sequence + 1
            words[at_topic] = owned.topic_index
            words[at_partition] = owned.partition
            words[at_attempt] = lane.attempt
            words[at_offset] = message.offset() or 0
            failure: BaseException | None = None
            cell.is_running = True
            try:
                answer = await process(new(message, lane.attempt))
            except BaseException as error:  # noqa: BLE001 - the record border: whatever a handler raises is its record's failure
                failure = error
            else:
                if answer is not None:
                    failure = WrongReturnError()
            cell.is_running = False
            if failure is not None or task.cancelling():
                failure = await self._after_trouble(cell, failure)
                if failure is not None:
                    await self._aside(cell, self._outcomes.failed, lane, failure)
                    words[at_offset] = IDLE
                    sequence, lane = words[at_sequence], None
                    continue
            words[at_offset] = IDLE
            with mutex:
                lane = exchange(lane, now=clock())
                if idle:
                    self._ring()

    async def _work_batches(self, cell: _Cell) -> None:
        """Give the handler what a lane holds, up to the batch size; a record that failed before goes alone."""
        engine, batch = self._engine, self._batch
        assert batch is not None  # noqa: S101 - the caller looked
        group = engine.spec.group.batch
        words, base = engine.board.words, cell.base
        while (lane := await self._next(cell)) is not None:
            if lane.letter is not None:
                await self._send_again(cell, lane)
                continue
            with engine.mutex:
                due = (lane.since or 0.0) + group.age
                if not lane.solo and len(lane.items) < group.size and time.monotonic() < due:
                    engine.lanes.wait(lane, due=due)
                    continue
                size = 1 if lane.solo else group.size
                items = [item for item, _ in islice(lane.items, size) if item[0] is lane.head[0]]
                lane.taken = len(items)
            self._enter(cell, lane, last=items[-1][1].offset() or 0)
            records = [Record(message, lane.attempt) for _, message in items]
            outcomes = await self._batch_outcomes(cell, batch, records)
            if any(outcome is not None for outcome in outcomes):
                await self._aside(cell, self._outcomes.batch, lane, outcomes)
            else:
                self._outcomes.batch(lane, outcomes)
            words[base + C_OFFSET] = IDLE
            await self._turn(cell)

    async def _batch_outcomes(
        self, cell: _Cell, batch: Callable[[Sequence[Record]], Awaitable[object]], records: list[Record]
    ) -> list[BaseException | None]:
        failure: BaseException | None = None
        answer: Any = None
        cell.is_running = True
        try:
            answer = await batch(records)
        except BaseException as error:  # noqa: BLE001 - the record border, for a batch
            failure = error
        cell.is_running = False
        if cell.task is not None and (failure is not None or cell.task.cancelling()):
            failure = await self._after_trouble(cell, failure)
        if failure is not None:
            return [failure] * len(records)
        return batch_outcomes(lambda _records: answer, records)

    async def _after_trouble(self, cell: _Cell, failure: BaseException | None) -> BaseException | None:
        """Return what an attempt failed with, when it raised or was cancelled by anyone; clear the cancelling.

        A handler that was cancelled for its time has failed though it may return: it was cut short somewhere.
        """
        if cell.is_cancelled:
            cell.is_cancelled = False
            cause, failure = failure, HandlerTimeoutError(self._timeout)
            failure.__cause__ = cause
            failure.__traceback__ = cause.__traceback__ if cause else None
        self._not_heard(cell)
        await self._turn(cell)
        return failure

    async def _turn(self, cell: _Cell) -> None:
        """Let the loop go round once, and whatever still wants to cancel this task pass."""
        try:
            await asyncio.sleep(0)
        except CancelledError:
            self._not_heard(cell)

    def _not_heard(self, cell: _Cell) -> None:
        """Forget that this task was cancelled: it is no handler's to cancel. When all ends, end here instead."""
        if self._is_ending:
            raise CancelledError
        while cell.task is not None and cell.task.cancelling():
            cell.task.uncancel()

    async def _send_again(self, cell: _Cell, lane: Lane[Item]) -> None:
        """Offer a dead letter again, its record on the board meanwhile."""
        self._enter(cell, lane)
        await self._aside(cell, self._outcomes.send_again, lane)
        self._engine.board.words[cell.base + C_OFFSET] = IDLE

    async def _aside(self, cell: _Cell, function: Callable[..., None], *args: object) -> None:
        """Run what may block in a thread beside the loop, and wait for it, however often this task is cancelled.

        Still on the board, as work of its own: the policy and the sink that are asked now may hang as a handler may.
        """
        self._engine.board.words[cell.base + C_SEQUENCE] += 1
        future = self._loop.loop.run_in_executor(self._outside, function, *args)
        while not future.done():
            try:
                await asyncio.wait((future,))
            except CancelledError:
                self._not_heard(cell)
        future.result()

    def _enter(self, cell: _Cell, lane: Lane[Item], *, last: int = IDLE) -> None:
        """Announce on the board what is worked next; the store of its offset makes it count."""
        words, base = self._engine.board.words, cell.base
        owned, message = lane.head
        words[base + C_SEQUENCE] += 1
        words[base + C_TOPIC] = owned.topic_index
        words[base + C_PARTITION] = owned.partition
        words[base + C_LAST_OFFSET] = last
        words[base + C_ATTEMPT] = lane.attempt
        words[base + C_OFFSET] = message.offset() or 0
