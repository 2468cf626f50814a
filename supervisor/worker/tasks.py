"""The executor of ``async def`` handlers: long-lived tasks of one event loop that pull from the lanes.

The main thread polls, never the loop's: a poll blocks, and rebalances wait in it. Records pass from one to the
other through the lanes alone; no task, future or call across threads is made per record. What may block beside
the handler itself (retry policies, sinks) runs in a few threads of its own.
"""

import asyncio
import threading
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, cast

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
)
from supervisor.core.lane import Lane
from supervisor.core.lanes import ALONE
from supervisor.plugin.active import Active
from supervisor.plugin.extending import EXTEND
from supervisor.plugin.types import Message, Record, Records
from supervisor.worker import batches
from supervisor.worker.calling import HandlerTimeoutError, batch_outcomes
from supervisor.worker.committer import Commits
from supervisor.worker.engine import MAIN, Engine
from supervisor.worker.extension import Extension
from supervisor.worker.idle import Idle
from supervisor.worker.loop import LoopThread, join_named
from supervisor.worker.outcomes import Outcomes
from supervisor.worker.outlet import unsent
from supervisor.worker.overdue import Cell, Overdue
from supervisor.worker.owned import Item, Owned
from supervisor.worker.poller import Poller
from supervisor.worker.pressure import CHUNK

POLL_WAIT = 0.05
HASTY_POLL = 0.01
"""Seconds of a poll while handlers' outputs are under way, whose confirmations are looked at in between; and while
there are suspects: each waits for a commit, and both it and its answer for a poll."""
STAND_IN_AFTER = 0.05
TURN = 0.02
"""Seconds the main thread may poll on end before it looks at its other duties."""
ROOM_WAIT = 0.01
STREAK = 16
"""Records a task may work before the loop gets a turn, for handlers that never wait."""
OUTSIDE = 4
"""Threads for retry policies, sinks and the first output to a partition of a topic, which may block."""
CLOSE_TIMEOUT = 5.0


Answer = TypeVar("Answer")


class TaskExecutor:
    """The tasks of one worker, ``concurrency`` of them. Methods are the main thread's, which also polls."""

    def __init__(
        self, engine: Engine, active: Active, *, poller: Poller, committer: Commits, outcomes: Outcomes
    ) -> None:
        group = engine.spec.group
        self._engine = engine
        self._poller = poller
        self._committer = committer
        self._outcomes = outcomes
        self._outlet = outcomes.outlet
        self._process = cast("Callable[[Record], Awaitable[object]] | None", active.process)
        self._batch = cast("Callable[[Sequence[Record]], Awaitable[object]] | None", active.process_batch)
        self._timeout = group.handler_timeout
        self._room = min(group.queue_records // 2, max(2 * CHUNK, 4 * group.concurrency))
        """With fewer records in lanes the main thread polls for more at once."""
        self._cells = [Cell(number) for number in range(group.concurrency)]
        self._loop = LoopThread(self._crash)
        self._outside = ThreadPoolExecutor(min(OUTSIDE, group.concurrency), thread_name_prefix="outcomes")
        self._idle = engine.work = Idle(engine, self._loop)
        self._overdue = Overdue(engine, self._loop, self._cells)
        self._has_started = self._is_ending = False
        self._live = 0
        self._ended = threading.Event()
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
            is_early = time.monotonic() - engine.polled_at < STAND_IN_AFTER and not engine.lanes.alone.is_held
            if is_early and not self._has_room():
                return
            engine.poller = MAIN
        while True:
            waits = self._has_room() and not engine.stopping
            is_hasty = self._outlet.held or engine.lanes.closed & ALONE
            messages = self._poller.poll((HASTY_POLL if is_hasty else POLL_WAIT) if waits else 0.0)
            self._poller.accept(messages, cell=None)
            self._outlet.collect()
            self._committer.if_due()
            self.wake()
            if not messages or time.monotonic() >= until or not self._has_room():
                break
        with engine.mutex:
            engine.release_baton()

    def wake(self) -> None:
        """Ring for idle tasks if there is anything for them."""
        with self._engine.mutex:
            self._idle.notify()

    def steal(self, *, drop: bool = False) -> None:
        """Do nothing: no chunk is in anybody's hands."""

    def watch(self) -> None:
        """See ``Overdue``. Each tick."""
        self._overdue.look()

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

    # --- the loop's thread --------------------------------------------------------------------------------

    def _begin(self) -> None:
        words, thread = self._engine.board.words, threading.get_ident()
        for number, cell in enumerate(self._cells):
            words[cell.base + C_THREAD], words[cell.base + C_LAST_OFFSET] = thread, IDLE
            work = self._work_records(cell) if self._batch is None else self._work_batches(cell)
            context = copy_context()
            context.run(EXTEND.set, Extension(self._engine, cell.base))
            cell.task = self._loop.loop.create_task(work, name=f"handler-{number}", context=context)
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

    async def _next(self, cell: Cell) -> Lane[Item] | None:
        """Return a lane to work, ``None`` when the task should end. Waits for one, however often it is cancelled."""
        engine = self._engine
        while True:
            with engine.mutex:
                lane = engine.lanes.take(now=time.monotonic())
                if lane is not None:
                    self._idle.notify()
                    return lane
                if engine.stopping or self._is_ending:
                    return None
                bell = self._idle.enter(cell)
            try:
                await bell
            except CancelledError:
                self._not_heard(cell)
                with engine.mutex:
                    self._idle.leave(cell)

    async def _work_records(self, cell: Cell) -> None:  # noqa: C901, PLR0912, PLR0915 - the hot path: one function, local names
        """Work records one by one, each from the lane that waits longest, until there is nothing left to do."""
        engine, process, task = self._engine, self._process, cell.task
        assert process is not None  # noqa: S101 - the caller looked
        assert task is not None  # noqa: S101 - it runs this
        mutex, exchange, idle, new, clock = engine.mutex, engine.exchange, self._idle.cells, Record, time.monotonic
        ran = engine.meters.ran
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
            answer = None
            cell.is_running = True
            began = clock()
            try:
                answer = await process(new(message, lane.attempt))
            except BaseException as error:  # noqa: BLE001 - the record border: whatever a handler raises is its record's failure
                failure = error
            cell.is_running = False
            if failure is not None or task.cancelling():
                failure = await self._after_trouble(cell, failure)
            if answer is not None:
                if failure is not None:
                    failure = unsent(answer, failure)
                elif self._outlet.may_wait(answer):
                    failure = await self._aside(cell, self._emit, owned, message, answer)
                    sequence = words[at_sequence]
                else:
                    failure = self._emit(owned, message, answer)
            if failure is not None:
                with mutex:
                    ran(clock() - began, 1)
                await self._aside(cell, self._outcomes.failed, lane, failure)
                words[at_offset] = IDLE
                sequence, lane = words[at_sequence], None
                continue
            words[at_offset] = IDLE
            now = clock()
            with mutex:
                ran(now - began, 1)
                lane = exchange(lane, now=now)
                if idle:
                    self._idle.notify()

    async def _work_batches(self, cell: Cell) -> None:
        """Give the handler what is one batch of a lane, until there is nothing left to do."""
        engine = self._engine
        words, base = engine.board.words, cell.base
        while (lane := await self._next(cell)) is not None:
            if lane.letter is not None:
                await self._send_again(cell, lane)
                continue
            with engine.mutex:
                items = batches.batch_of(engine, lane)
            if not items:
                continue
            batches.enter(engine, base, items, attempt=lane.attempt)
            outcomes = await self._batch_outcomes(cell, items[0][0], [message for _, message in items], lane.attempt)
            if outcomes is None:
                self._outcomes.batch(lane, [None] * len(items))
            else:
                await self._aside(cell, self._outcomes.batch, lane, outcomes)
            words[base + C_OFFSET] = IDLE
            await self._turn(cell)

    async def _batch_outcomes(
        self, cell: Cell, owned: Owned, messages: list[Message], attempt: int
    ) -> list[BaseException | None] | None:
        """Call a batch handler; return what ``calling.batch_outcomes`` does."""
        assert self._batch is not None  # noqa: S101 - the caller looked
        failure: BaseException | None = None
        answer: Any = None
        cell.is_running = True
        began = time.monotonic()
        try:
            answer = await self._batch(Records(messages, attempt))
        except BaseException as error:  # noqa: BLE001 - the record border, for a batch
            failure = error
        cell.is_running = False
        with self._engine.mutex:
            self._engine.meters.ran(time.monotonic() - began, 1, batch=len(messages))
        if cell.task is not None and (failure is not None or cell.task.cancelling()):
            failure = await self._after_trouble(cell, failure)
        if failure is not None:
            for one in answer if isinstance(answer, list) else ():
                unsent(one, failure)
            return [failure] * len(messages)
        arguments = (lambda _records: answer, messages, partial(self._outlet.send, owned), attempt)
        if isinstance(answer, list | tuple) and any(map(self._outlet.may_wait, answer)):
            return await self._aside(cell, batch_outcomes, *arguments)
        return batch_outcomes(*arguments)

    def _emit(self, owned: Owned, message: Message, answer: object) -> BaseException | None:
        """Hand on what a handler returned; return what is wrong with it. Only a full producer makes the loop wait."""
        try:
            self._outlet.send(owned, message, answer)
        except BaseException as error:  # noqa: BLE001 - the record border: what a handler returned is user data
            return error
        return None

    async def _after_trouble(self, cell: Cell, failure: BaseException | None) -> BaseException | None:
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

    async def _turn(self, cell: Cell) -> None:
        """Let the loop go round once, and whatever still wants to cancel this task pass."""
        try:
            await asyncio.sleep(0)
        except CancelledError:
            self._not_heard(cell)

    def _not_heard(self, cell: Cell) -> None:
        """Forget that this task was cancelled: it is no handler's to cancel. When all ends, end here instead."""
        if self._is_ending:
            raise CancelledError
        while cell.task is not None and cell.task.cancelling():
            cell.task.uncancel()

    async def _send_again(self, cell: Cell, lane: Lane[Item]) -> None:
        """Offer a dead letter again, its record on the board meanwhile."""
        engine, words = self._engine, self._engine.board.words
        owned, message = lane.head
        engine.enter(cell.base, owned, attempt=lane.attempt)
        words[cell.base + C_OFFSET] = message.offset() or 0
        await self._aside(cell, self._outcomes.send_again, lane)
        words[cell.base + C_OFFSET] = IDLE

    async def _aside(self, cell: Cell, function: Callable[..., Answer], *args: object) -> Answer:
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
        return future.result()
