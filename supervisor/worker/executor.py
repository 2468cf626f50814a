"""Handler threads: leaders that poll and work a chunk themselves, followers that pull from lanes.

Polling is a baton. An idle thread takes it, polls a chunk, and while the handler is fast works it in delivery
order: no hand-over, no lanes, key order for free. When a record takes long, the main thread steals the rest
of the chunk into lanes and frees the baton (``steal``); when the handler is slow on the mean, chunks go to
lanes at once. When every thread is busy the main thread stands in (``stand_in``).
"""

import threading
import time
from functools import partial

from supervisor.core.board import (
    C_OFFSET,
    C_THREAD,
    IDLE,
    cell_base,
)
from supervisor.core.lane import Lane
from supervisor.core.lanes import ALONE
from supervisor.plugin.active import Active
from supervisor.plugin.extending import EXTEND
from supervisor.worker import batches
from supervisor.worker.calling import batch_outcomes, work_in_order
from supervisor.worker.committer import Commits
from supervisor.worker.engine import MAIN, Engine
from supervisor.worker.extension import Extension
from supervisor.worker.outcomes import Outcomes
from supervisor.worker.owned import Item
from supervisor.worker.poller import Poller
from supervisor.worker.serial import SerialWork

IDLE_WAIT = 1.0
POLL_WAIT = 0.1
HASTY_POLL = 0.01
"""Seconds of a poll while there are suspects: each waits for a commit, and both it and its answer for a poll."""
STAND_IN_AFTER = 0.05
STAND_IN_POLL = 0.02
SLICE = 0.005
"""Seconds after which a thread puts a lane back in line for another."""


class Executor:
    """The handler threads of one worker; they are started as they are needed, up to ``limit``."""

    def __init__(
        self, engine: Engine, active: Active, *, poller: Poller, committer: Commits, outcomes: Outcomes
    ) -> None:
        self._engine = engine
        self._poller = poller
        self._committer = committer
        self._outcomes = outcomes
        self._outlet = outcomes.outlet
        self._emit = outcomes.outlet.send
        self._process = active.process
        self._batch = active.process_batch
        self._limit = engine.spec.group.concurrency
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._serial = SerialWork(engine, active, outcomes, self.wake)

    def start(self) -> None:
        """Start the first thread: the leader."""
        with self._engine.mutex:
            threads = self._hire(1)
        _start(threads)

    def join(self, deadline: float) -> bool:
        """Wait for the threads to end, until ``deadline`` (monotonic); return whether all did."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self) -> None:
        """Bring as many threads to work as there are lanes ready or due, and one to poll; start what is not there."""
        engine = self._engine
        with engine.mutex:
            wanted = engine.lanes.ready
            due = engine.lanes.next_due()
            if due is not None and due <= time.monotonic():
                wanted += 1
            if wanted or engine.poller is None:
                wanted += 1
            if not wanted or engine.stopping:
                return
            engine.work.notify(wanted)
            threads = self._hire(wanted - self._idle)
        _start(threads)

    def stand_in(self) -> None:
        """Poll once in the main thread when nobody has for a while, so that membership and commits go on.

        What comes goes to lanes; the main thread never runs a handler.
        """
        engine = self._engine
        with engine.mutex:
            if engine.poller is not None or time.monotonic() - engine.polled_at < STAND_IN_AFTER:
                return
            engine.poller = MAIN
        self._poller.accept(self._poller.poll(STAND_IN_POLL), cell=None)
        self._outlet.collect()
        self._committer.if_due()
        with engine.mutex:
            engine.release_baton()
        self.wake()

    def watch(self) -> None:
        """Steal a serial chunk that stands still or creeps. Main thread, each tick."""
        self._serial.watch()

    def steal(self, *, drop: bool = False) -> None:
        """Take the serial chunk from its thread: into lanes, or nowhere when ``drop``. Main thread."""
        self._serial.steal(drop=drop)

    def _hire(self, count: int) -> list[threading.Thread]:
        """Make up to ``count`` threads for the caller to start; mutex held, so that no cell is given twice."""
        first = len(self._threads)
        hired = [
            threading.Thread(target=self._run, args=(cell,), name=f"handler-{cell}", daemon=True)
            for cell in range(first, min(first + count, self._limit))
        ]
        self._threads += hired
        return hired

    def _run(self, cell: int) -> None:
        try:
            words, base = self._engine.board.words, cell_base(cell)
            words[base + C_THREAD] = threading.get_ident()
            EXTEND.set(Extension(self._engine, base))
            while True:
                lane, stop = self._next(cell)
                if stop:
                    return
                if lane is None:
                    self._lead(cell)
                elif self._batch is not None:
                    self._work_batch(lane, cell)
                else:
                    while lane is not None:
                        lane = self._work_lane(lane, cell)
        except BaseException as error:  # noqa: BLE001 - crash-only: the engine itself failed
            self._engine.crash(error)

    def _next(self, cell: int) -> tuple[Lane[Item] | None, bool]:
        """Return a lane to work, or nothing: then the baton is this thread's; or that it should end."""
        engine = self._engine
        with engine.mutex:
            while True:
                now = time.monotonic()
                lane = engine.lanes.take(now=now)
                if lane is not None:
                    return lane, False
                if engine.stopping:
                    return None, True
                if engine.poller is None:
                    engine.poller = cell
                    return None, False
                due = engine.lanes.next_due()
                self._idle += 1
                engine.work.wait(IDLE_WAIT if due is None else min(IDLE_WAIT, max(0.0, due - now)))
                self._idle -= 1

    def _lead(self, cell: int) -> None:
        """Hold the baton: poll, work, commit, until lanes need this thread or the chunk was stolen."""
        engine = self._engine
        while True:
            serial = self._poller.accept(self._poller.poll(self._poll_wait()), cell=cell)
            if engine.lanes.ready:
                self.wake()
            if serial is not None and not self._serial.work(serial):
                return
            self._outlet.collect()
            self._committer.if_due()
            with engine.mutex:
                due = engine.lanes.next_due()
                if engine.lanes.ready or engine.stopping or (due is not None and due <= time.monotonic()):
                    engine.release_baton()
                    return

    def _poll_wait(self) -> float:
        with self._engine.mutex:
            due = self._engine.next_due()
            most = HASTY_POLL if self._engine.lanes.closed & ALONE else POLL_WAIT
        return most if due is None else min(most, max(0.0, due - time.monotonic()))

    def _work_lane(self, lane: Lane[Item], cell: int) -> Lane[Item] | None:
        """Work a lane's records one by one until it is empty, its slice of time is over, or one fails.

        Returns the next lane where one is ready: with many threads each hold of the mutex counts.
        """
        engine, process = self._engine, self._process
        assert process is not None  # noqa: S101 - the other kind of handler is a batch
        words, base = engine.board.words, cell_base(cell)
        started, elapsed, records = time.perf_counter(), 0.0, 0
        while True:
            if lane.letter is not None:
                self._send_again(lane, base)
                return None
            owned, message = lane.head
            engine.enter(base, owned, attempt=lane.attempt)
            failed = work_in_order(
                iter((message,)),
                process,
                words,
                at=base + C_OFFSET,
                emit=partial(self._emit, owned),
                attempt=lane.attempt,
            )
            records += 1
            before, elapsed = elapsed, time.perf_counter() - started
            if failed is not None:
                with engine.mutex:
                    engine.meters.ran(elapsed - before, 1)
                # Still on the board: the policy and the sink that are asked now may hang as a handler may.
                self._outcomes.failed(lane, failed[1])
                words[base + C_OFFSET] = IDLE
                return None
            words[base + C_OFFSET] = IDLE
            with engine.mutex:
                engine.meters.ran(elapsed - before, 1)
                if len(lane.items) == 1 or elapsed > SLICE or engine.lanes.closed:
                    engine.note_mean(elapsed, records)
                    return engine.exchange(lane, now=time.monotonic())
                engine.settle_head(lane)
                engine.drop_revoked(lane)
                if not lane.items:
                    engine.lanes.give_back(lane)
                    return None

    def _work_batch(self, lane: Lane[Item], cell: int) -> None:
        """Give the handler what is one batch of a lane."""
        engine, batch = self._engine, self._batch
        assert batch is not None  # noqa: S101 - the caller looked
        words, base = engine.board.words, cell_base(cell)
        if lane.letter is not None:
            self._send_again(lane, base)
            return
        with engine.mutex:
            items = batches.batch_of(engine, lane)
        if not items:
            return
        batches.enter(engine, base, items, attempt=lane.attempt)
        started = time.perf_counter()
        messages = [message for _, message in items]
        outcomes = batch_outcomes(batch, messages, partial(self._emit, items[0][0]), attempt=lane.attempt)
        elapsed = time.perf_counter() - started
        with engine.mutex:
            engine.note_mean(elapsed, 1)
            engine.meters.ran(elapsed, 1, batch=len(items))
        self._outcomes.batch(lane, outcomes or [None] * len(items))
        words[base + C_OFFSET] = IDLE
        self.wake()

    def _send_again(self, lane: Lane[Item], base: int) -> None:
        """Offer a dead letter again, its record on the board meanwhile."""
        engine = self._engine
        words = engine.board.words
        owned, message = lane.head
        engine.enter(base, owned, attempt=lane.attempt)
        words[base + C_OFFSET] = message.offset() or 0
        self._outcomes.send_again(lane)
        words[base + C_OFFSET] = IDLE


def _start(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
