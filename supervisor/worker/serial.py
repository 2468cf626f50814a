"""Work a chunk run by run in the thread that polled it; and take it away from a thread whose handler is slow.

While handlers are fast this is the whole way of a record: no hand-over, no lane. When a record or batch takes
long the main thread steals the rest into lanes and frees the baton.
"""

import time
from collections.abc import Callable
from functools import partial

from supervisor.core.board import C_LAST_OFFSET, C_OFFSET, IDLE, cell_base
from supervisor.core.lane import Lane
from supervisor.plugin.active import Active, Process, ProcessBatch
from supervisor.plugin.types import DependencyDown, Message, Retry
from supervisor.worker.calling import batch_outcomes, work_in_order
from supervisor.worker.engine import Engine
from supervisor.worker.outcomes import Outcomes
from supervisor.worker.owned import Item, Owned
from supervisor.worker.runs import Run, Serial, cut, into_lanes, settle, what_is_free
from supervisor.worker.verdicts import Verdict

SERIAL_LIMIT = 0.2
"""Seconds a serial chunk may take: longer means a slow handler, and nobody polls or commits meanwhile."""

Failed = tuple[Message, BaseException]


class SerialWork:
    """The serial chunks of one worker, one at a time."""

    def __init__(self, engine: Engine, active: Active, outcomes: Outcomes, wake: Callable[[], None]) -> None:
        self._engine = engine
        self._process = active.process
        self._batch = active.process_batch
        self._outcomes = outcomes
        self._emit = outcomes.outlet.send
        self._wake = wake
        self._watched: tuple[Serial, Run | None, int] | None = None
        self._watched_since = 0.0

    def work(self, serial: Serial) -> bool:
        """Work a chunk; return whether the baton is still this thread's."""
        engine = self._engine
        base = cell_base(serial.cell)
        while True:
            with engine.mutex:
                if engine.serial is not serial:
                    return False
                if engine.lanes.closed:
                    self._put_away(serial)
                if not serial.runs:
                    engine.serial = None
                    return True
                run = serial.current = serial.runs.pop()
                engine.enter(base, run.owned)
            if self._batch is not None:
                self._work_batches(self._batch, serial, run)
            else:
                assert self._process is not None  # noqa: S101 - the other kind of handler is a batch
                self._work_records(self._process, serial, run)
            engine.board.words[base + C_OFFSET] = IDLE

    def watch(self) -> None:
        """Steal a serial chunk that stands still since the last call, or creeps. Main thread, each tick."""
        engine, now = self._engine, time.monotonic()
        with engine.mutex:
            serial = engine.serial
            run = serial.current if serial else None
            seen = (serial, run, run.left if run else -1) if serial else None
            if self._watched is None or serial is not self._watched[0]:
                self._watched_since = now
            stuck = seen is not None and (seen == self._watched or now - self._watched_since > SERIAL_LIMIT)
            self._watched = seen
            closed = seen is not None and engine.lanes.closed
        if stuck or closed:
            self.steal()

    def steal(self, *, drop: bool = False) -> None:
        """Take what is left of the serial chunk from its thread: into lanes, or nowhere when ``drop``.

        What is in the handler gets a lane of its own name, so that what follows it waits for it.
        """
        engine = self._engine
        with engine.mutex:
            serial = engine.serial
            if serial is None:
                return
            engine.serial = None
            run = serial.current
            if run is not None:
                run.lane, rest = cut(engine, run)
                run.stolen, run.stolen_at = True, time.perf_counter()
                run.begun = -(-(len(run.messages) - len(rest)) // run.unit)
                if not drop:
                    into_lanes(engine, run.owned, rest)
            self._put_away(serial, drop=drop)
            if not engine.lanes.closed:
                engine.mean = max(engine.mean, 2 * engine.slow_from)
            engine.release_baton()
        self._wake()

    def _put_away(self, serial: Serial, *, drop: bool = False) -> None:
        """Put the runs that nobody has begun into lanes, or nowhere; mutex held."""
        while serial.runs:
            run = serial.runs.pop()
            if not drop:
                into_lanes(self._engine, run.owned, run.messages)

    # --- records ----------------------------------------------------------------------------------------

    def _work_records(self, process: Process, serial: Serial, run: Run) -> None:
        words, at = self._engine.board.words, cell_base(serial.cell) + C_OFFSET
        emit = partial(self._emit, run.owned)
        started, verdict = time.perf_counter(), None
        while verdict is None:
            failed = work_in_order(run.rest, process, words, at=at, emit=emit)
            if failed is None:
                break
            verdict = self._again(process, run, failed, serial.cell)
        elapsed = time.perf_counter() - started
        if verdict is None:
            words[at] = IDLE
        lane = self._end(serial, run, verdict is not None, elapsed=elapsed, calls=len(run.messages) - run.left)
        if lane is not None:
            if verdict is not None:
                # Still on the board: the sink that is asked now may hang as a handler may.
                self._outcomes.follow(lane, *verdict)
            self._wake()

    def _again(self, process: Process, run: Run, failed: Failed, cell: int) -> Verdict | None:
        """Try a failed record again on the spot while that is the verdict; ``None`` once it is done."""
        engine, base = self._engine, cell_base(cell)
        words, emit = engine.board.words, partial(self._emit, run.owned)
        while True:
            message, error = failed
            verdict = self._outcomes.judge(message, error, attempt=run.attempt, since=run.failed_at)
            failure, decision = verdict
            if isinstance(decision, DependencyDown) and not run.stolen:  # else its lane says so
                self._outcomes.breaker.down(decision.name)
            with engine.mutex:
                if run.stolen or not isinstance(decision, Retry) or decision.after > 0:
                    run.failed_at = failure.first_failed_at
                    return verdict
                run.failed_at = failure.first_failed_at
                run.attempt += 1
                engine.meters.retried += 1
                engine.enter(base, run.owned, attempt=run.attempt)
            again = work_in_order(iter((message,)), process, words, at=base + C_OFFSET, emit=emit, attempt=run.attempt)
            if again is None:
                with engine.mutex:
                    run.attempt, run.failed_at = 1, None
                    engine.enter(base, run.owned)
                return None
            failed = again

    def _end(self, serial: Serial, run: Run, failed: bool, *, elapsed: float, calls: int) -> Lane[Item] | None:  # noqa: FBT001
        """Settle what a run did; return the lane of what failed in it, or of what was stolen with it."""
        engine = self._engine
        with engine.mutex:
            if serial.current is run:
                serial.current = None
            lane = run.lane
            if run.stolen:
                after = min(elapsed, time.perf_counter() - run.stolen_at)
                batch = None if self._batch is None else run.unit
                engine.meters.was_stolen(elapsed - after, after, run.begun, batch=batch)
                if lane is not None and not failed and self._batch is None:
                    engine.settle_head(lane)
                    engine.lanes.give_back(lane)
                return lane
            engine.note_mean(elapsed, max(1, calls))
            engine.meters.ran(elapsed, max(1, calls), batch=None if self._batch is None else run.unit)
            if failed:
                lane, rest = cut(engine, run)
                self._go_on(serial, run.owned, rest)
                return lane
            settle(engine, run, len(run.messages))
            return None

    def _go_on(self, serial: Serial, owned: Owned, rest: list[Message]) -> None:
        """Work on what need not wait for the record that failed; mutex held."""
        engine = self._engine
        if engine.in_batches or engine.lanes.closed:
            into_lanes(engine, owned, rest)
            return
        run = what_is_free(engine, owned, rest)
        if run is not None:
            serial.runs.append(run)

    # --- batches ----------------------------------------------------------------------------------------

    def _work_batches(self, batch: ProcessBatch, serial: Serial, run: Run) -> None:
        words, base = self._engine.board.words, cell_base(serial.cell)
        emit = partial(self._emit, run.owned)
        started, calls = time.perf_counter(), 0
        outcomes: list[BaseException | None] | None = None
        for messages in run.rest:
            words[base + C_LAST_OFFSET] = messages[-1].offset()
            words[base + C_OFFSET] = messages[0].offset()
            outcomes = batch_outcomes(batch, messages, emit)
            calls += 1
            if outcomes is not None:
                break
            words[base + C_OFFSET] = IDLE
        elapsed = time.perf_counter() - started
        lane = self._end(serial, run, outcomes is not None, elapsed=elapsed, calls=calls)
        if lane is not None:
            self._outcomes.batch(lane, outcomes or [None] * lane.taken)
            self._wake()
