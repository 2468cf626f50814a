"""What a worker says of itself, to the parent when it changed and each tick on its board."""

import time
from collections.abc import Callable
from dataclasses import replace

from supervisor.core.board import H_RUNNABLE, H_SETTLED, H_WAIT, Wait
from supervisor.core.histogram import Exemplar
from supervisor.core.jsonable import to_json
from supervisor.core.lanes import BREAKER, HELD
from supervisor.core.worker_stats import PartitionStats, WorkerStats
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Owned

KEEP_ALIVE = 3.5
"""Seconds after which statistics that did not change are told again, at the next count."""
OVERDUE = 1.0
"""Seconds after which what is due and not begun counts as work that nobody does."""
MAX_PARTITIONS = 500
"""Partitions told one by one; a frame has a limit, and nobody reads more in a table."""


class Teller:
    """Tells the parent the worker's statistics when they changed, and now and then when not. Main thread.

    An idle worker's would be most of what the parent of many does.
    """

    def __init__(self, engine: Engine, traced: Callable[[], tuple[Exemplar, ...]] = tuple) -> None:
        self._engine = engine
        self._traced = traced
        self._told: WorkerStats | None = None
        self._told_at = self._since = time.monotonic()

    def tell(self) -> None:
        """Count, and tell the parent if that is news to it; ``seconds`` is the time in which the change came to be."""
        stats, now = replace(worker_stats(self._engine), exemplars=self._traced()), time.monotonic()
        if stats != self._told or now - self._told_at >= KEEP_ALIVE:
            seconds = round(now - self._since, 3)
            if not self._engine.link.send("stats", stats=to_json(stats), seconds=seconds):
                return
            self._told, self._told_at = stats, now
        self._since = now


def note_on_board(engine: Engine) -> None:
    """Write the counters and the stated reason for standing still. Main thread."""
    words = engine.board.words
    with engine.mutex:
        words[H_SETTLED] = engine.counters.settled
        words[H_WAIT] = stated_wait(engine)
        words[H_RUNNABLE] = runnable(engine)


def runnable(engine: Engine) -> int:
    """Return how many lanes could be worked now, or are; mutex held."""
    lanes = engine.lanes
    return lanes.ready + lanes.busy + (engine.serial is not None) + _is_overdue(engine) + _is_unmarked(engine)


def stated_wait(engine: Engine) -> Wait:  # noqa: C901, PLR0911 - one return per reason, in order of precedence
    """Return why nothing moves, ``NONE`` when something should; mutex held."""
    lanes = engine.lanes
    if engine.revoking:
        return Wait.REVOKING
    if engine.stopping:
        return Wait.DRAINING
    if runnable(engine):
        return Wait.NONE
    if lanes.closed & HELD:
        return Wait.BREAKER if lanes.closed & BREAKER else Wait.FLOOD
    if engine.broker_trouble:
        return Wait.BROKER
    if not engine.owned:
        return Wait.UNASSIGNED
    if lanes.blocked or (engine.outlet is not None and engine.outlet.held) or lanes.has_letter_waiting():
        return Wait.SINK
    if engine.on_hold:
        return Wait.PAUSED
    if engine.next_due() is not None or engine.later:
        return Wait.RETRY
    if engine.paused:
        return Wait.PAUSED
    if len(engine.at_end) + len(engine.stopped) == len(engine.owned):
        return Wait.STOPPED if engine.stopped else Wait.EOF
    return Wait.NONE


def _is_overdue(engine: Engine) -> bool:
    """Tell whether a retry or a batch should have been begun: nobody waits for it any more."""
    due = engine.next_due()
    return due is not None and due < time.monotonic() - OVERDUE


def _is_unmarked(engine: Engine) -> bool:
    """Tell whether a store of keys that hangs holds up what is confirmed: no broker is waited for, nor a sink."""
    return engine.guard is not None and engine.guard.hangs and engine.outlet is not None and engine.outlet.held > 0


def worker_stats(engine: Engine) -> WorkerStats:
    """Measure the worker. Main thread."""
    now = time.monotonic()
    with engine.mutex:
        owned = list(engine.owned.values())
        rows = [(one.place, one.committed, _next(engine, one), one.offsets.gap) for one in owned]
        oldest = max((one.offsets.oldest(now=now) for one in owned), default=0.0)
        counters, lanes, ends, meters = engine.counters, engine.lanes, engine.ends, engine.meters
        stopped, known = dict(engine.stopped), set(engine.quarantine.known)
        stats = WorkerStats(
            settled=counters.settled,
            failed_attempts=counters.failed_attempts,
            dead_lettered=counters.dead_lettered,
            dropped=counters.dropped,
            duplicates=engine.guard.duplicates if engine.guard is not None else 0,
            copied=counters.copied,
            in_flight=lanes.busy + (1 if engine.serial else 0),
            queued=engine.queued,
            queued_bytes=engine.queued_size,
            oldest=oldest,
            commits=counters.commits,
            commit_errors=dict(engine.commit_errors),
            waits=stated_wait(engine).name.lower(),
            paused=engine.on_hold and engine.paused >= engine.owned.keys(),
            owned=len(owned),
            received=meters.received,
            retried=meters.retried,
            pauses=meters.pauses,
            paused_partitions=len(engine.paused),
            queue_fill=_fill(engine),
            rebalances=dict(meters.rebalances),
            handled=meters.handled.frozen(),
            polled=meters.polled.frozen(),
            batches=meters.batches.frozen(),
            committing=meters.committing.frozen(),
        )
    partitions = []
    total: int | None = 0
    for place, committed, committable, gap in rows:
        high = ends.get(place)
        lag = None if high is None or committable is None else max(0, high - committable)
        total = None if total is None or lag is None else total + lag
        partitions.append(PartitionStats(place[0], place[1], committed, lag, gap, stopped.get(place, "")))
    partitions.sort(key=lambda one: (not one.stopped, (one.topic, one.partition) not in known))  # must not be cut off
    return replace(stats, lag=total if rows else None, partitions=tuple(partitions[:MAX_PARTITIONS]))


def _fill(engine: Engine) -> float:
    group = engine.spec.group
    return round(max(engine.queued / group.queue_records, engine.queued_size / group.queue_bytes), 3)


def _next(engine: Engine, owned: Owned) -> int | None:
    """Return where the next commit would lead, for the lag; at an end that was reached without a record, that end."""
    committable = owned.offsets.committable()
    if committable is None and owned.later is not None:
        return owned.later.offset
    if committable is None and owned.place in engine.at_end:
        return engine.ends.get(owned.place)
    return committable
