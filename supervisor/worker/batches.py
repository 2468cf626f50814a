"""Batches from lanes: which records are one call of a batch handler, and how they stand on the board."""

import time
from collections.abc import Sequence
from itertools import islice

from supervisor.core.board import C_LAST_OFFSET, C_OFFSET
from supervisor.core.lane import Lane
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Item


def batch_of(engine: Engine, lane: Lane[Item]) -> list[Item]:
    """Return what of a busy lane is worked in one call, up to the batch size; mutex held.

    A record that failed before, one that shows whether all may go on, and an accused one are worked alone. Nothing: the
    lane's turn is over, because it waits for more (while any may come) or nobody owns its records any more.
    """
    engine.drop_revoked(lane)
    if not lane.items:
        engine.lanes.give_back(lane)
        return []
    owned, batch = lane.head[0], engine.spec.group.batch
    alone = lane.solo or lane is engine.lanes.trial
    size = 1 if alone else batch.size
    if engine.lanes.closed:
        size = engine.quarantine.cut(lane, size)
    due = (lane.since or 0.0) + batch.age
    if not alone and len(lane.items) < size and engine.can_fill(owned) and time.monotonic() < due:
        engine.lanes.wait(lane, due=due)
        return []
    items = [item for item, _ in islice(lane.items, size) if item[0] is owned]
    lane.taken = len(items)
    return items


def enter(engine: Engine, base: int, items: Sequence[Item], *, attempt: int) -> None:
    """Say on the board, in the cell at ``base``, which records are worked now."""
    (owned, first), (_, last) = items[0], items[-1]
    engine.enter(base, owned, attempt=attempt)
    engine.board.words[base + C_LAST_OFFSET] = last.offset() or 0
    engine.board.words[base + C_OFFSET] = first.offset() or 0
