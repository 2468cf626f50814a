"""Runs: records of one partition that one thread works in delivery order, without lanes.

Key order is then free, and offsets move a run at a time. A run ends early when a record fails or takes long:
what is in the handler gets a lane of its own name, and what must wait for it queues up behind.
"""

import time
from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any

from supervisor.core.lane import Lane
from supervisor.plugin.types import Message
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Item, Owned


class Run:
    """A stretch of work. The thread pulls units from ``rest``: records, or lists of ``batch`` (``unit``) records.

    Whoever empties ``rest`` first has the remainder: both are one bytecode on a list iterator, so the
    interpreter lock makes each take whole.
    """

    __slots__ = ("attempt", "begun", "failed_at", "lane", "messages", "owned", "rest", "stolen", "stolen_at", "unit")

    def __init__(self, owned: Owned, messages: list[Message], *, batch: int | None = None) -> None:
        self.owned = owned
        self.messages = messages
        self.unit = 1 if batch is None else batch
        starts = range(0, len(messages), self.unit)
        self.rest: Iterator[Any] = iter(messages if batch is None else [messages[at : at + batch] for at in starts])
        self.stolen = False
        self.stolen_at = 0.0
        """When (``perf_counter``) it was; and how many units were begun by then."""
        self.begun = 0
        self.lane: Lane[Item] | None = None
        """The lane that what is in the handler was put into when the run was stolen."""
        self.attempt = 1
        self.failed_at: float | None = None
        """Since when (epoch) the record in the handler fails, while it is tried again on the spot."""

    @property
    def left(self) -> int:
        """How many units nobody has begun."""
        return length_hint(self.rest)


class Serial:
    """The runs of one chunk, worked by the thread that polled it, which keeps the baton meanwhile."""

    __slots__ = ("cell", "current", "runs")

    def __init__(self, cell: int, runs: list[Run]) -> None:
        self.cell = cell
        self.runs = runs[::-1]
        self.current: Run | None = None


def run_of(engine: Engine, owned: Owned, messages: list[Message]) -> Run | None:
    """Return what of these delivered records can be worked in a row; the rest waits in lanes. Mutex held."""
    now = time.monotonic()
    first, last = messages[0].offset() or 0, messages[-1].offset() or 0
    if engine.in_batches:
        return _batches_of(engine, owned, messages, now=now)
    owned.offsets.stretch(first, last, len(messages), now=now)
    return what_is_free(engine, owned, messages)


def what_is_free(engine: Engine, owned: Owned, messages: list[Message]) -> Run | None:
    """Return a run of what need not wait for records in lanes; these are all of the partition's stretch. Mutex held."""
    free, waiting = engine.sift(owned, messages)
    if waiting:
        owned.offsets.take_out(_offsets(waiting), _first(free))
        engine.enqueue(owned, waiting)
    return Run(owned, free) if free else None


def _batches_of(engine: Engine, owned: Owned, messages: list[Message], *, now: float) -> Run | None:
    """Return whole batches of these records and of those that wait for more; what is left waits for more."""
    if engine.lanes.held(owned.place):
        into_lanes(engine, owned, ())  # something is filling while only a refused output's record is in a lane
        engine.spread(owned, messages)
        return None
    owned.offsets.stretch(messages[0].offset() or 0, messages[-1].offset() or 0, len(messages), now=now)
    size = engine.spec.group.batch.size
    if not owned.filling:
        owned.filling_since = now
    messages = owned.filling + messages
    whole = len(messages) - len(messages) % size
    if whole:
        owned.filling_since = now
    engine.fill(owned, messages[whole:])
    return Run(owned, messages[:whole], batch=size) if whole else None


def due_batches(engine: Engine, runs: list[Run]) -> list[Run]:
    """Return batches that are not full and have waited long enough; none of partitions in ``runs``. Mutex held."""
    limit = time.monotonic() - engine.spec.group.batch.age
    begun = {run.owned for run in runs}
    due = []
    for owned in [
        one for one in engine.filling if one not in begun and (one.filling_since <= limit or not engine.can_fill(one))
    ]:
        due.append(Run(owned, owned.filling, batch=len(owned.filling)))
        engine.fill(owned, [])
    return due


def cut(engine: Engine, run: Run) -> tuple[Lane[Item] | None, list[Message]]:
    """End a run where it stands: settle what is done, give what is in the handler a lane.

    Returns that lane, ``None`` when nothing was begun, and the rest, still of the partition's stretch. Mutex held.
    """
    units = list(run.rest)
    rest: list[Message] = [message for unit in units for message in unit] if engine.in_batches else units
    begun = len(run.messages) - len(rest)
    done = max(0, begun - run.unit)
    in_hand = run.messages[done:begun]
    then = _first(rest) if rest else _first(run.owned.filling)
    settle(engine, run, done)
    if not in_hand:
        return None, rest
    run.owned.offsets.take_out(_offsets(in_hand), then)
    lane = engine.adopt(run.owned, in_hand)
    lane.attempt, lane.failed_at = run.attempt, run.failed_at
    return lane, rest


def into_lanes(engine: Engine, owned: Owned, messages: Sequence[Message]) -> None:
    """Put what is left of a partition's stretch into lanes: these records and those that wait for more; mutex held."""
    left = [*messages, *owned.filling]
    if left:
        engine.fill(owned, [])
        owned.offsets.take_out(_offsets(left), None)
        engine.enqueue(owned, left)


def settle(engine: Engine, run: Run, records: int) -> None:
    """Settle the first ``records`` of a run; mutex held."""
    if not records:
        return
    owned = run.owned
    more = run.messages[records : records + 1] or owned.filling
    held: list[int] = []
    if owned.outputs and engine.outlet is not None:
        held = engine.outlet.held_of(owned, _offsets(run.messages[:records]))
    if held:
        owned.offsets.open(held)  # first, so that what is settled behind one of them counts as its gap
    owned.offsets.shorten(records, _first(more))
    engine.counters.settled += records - len(held)
    engine.dirty.add(owned)


def _offsets(messages: Sequence[Message]) -> list[int]:
    return [message.offset() or 0 for message in messages]


def _first(messages: Sequence[Message]) -> int | None:
    return messages[0].offset() or 0 if messages else None
