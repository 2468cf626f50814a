"""How many workers a group should have for its lag, in the way of KEDA's scaler for Kafka. Pure.

From KEDA: workers = lag / target, no more than there are partitions with lag, and a partition whose committed
offset stands still while it lags is left out (``excludePersistentLag``, ``limitToPartitionsWithLag``). Ours: hosts
that work the same group share what is wanted, growth is at most a doubling, and going down is one step at a time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from supervisor.core.lag import PartitionLag, Place

GROW_EVERY = 30.0
"""Seconds between two steps up: a rebalance and its first commits must show in the lag before it is judged again."""
COOLDOWN = 300.0
STUCK_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class WorkerRange:
    """``workers = { min, max, target_lag }``: one worker on this host for each ``target_lag`` records behind.

    Seconds that are ``None`` were not written; ``Rules`` has what holds then.
    """

    min: int
    max: int
    target_lag: int
    cooldown: float | None = None
    grow_every: float | None = None
    stuck_after: float | None = None


def least_workers(workers: int | WorkerRange) -> int:
    """Return how many workers a group begins with."""
    return workers if isinstance(workers, int) else workers.min


def most_workers(workers: int | WorkerRange) -> int:
    """Return how many workers a group may have."""
    return workers if isinstance(workers, int) else workers.max


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of one group's scaling; seconds. ``stuck_after``: longer than any record may take."""

    range: WorkerRange
    cooldown: float = COOLDOWN
    grow_every: float = GROW_EVERY
    stuck_after: float = STUCK_AFTER


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is remembered from one reading to the next.

    ``moved``: each lagging partition's committed offset, and since when it is that one. ``fewer_since``: since when
    fewer workers would have done.
    """

    moved: Mapping[Place, tuple[int, float]] = field(default_factory=dict)
    changed_at: float | None = None
    fewer_since: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """A change, and what it is made of: all that the event about it says."""

    workers: int
    reason: str
    lag: int
    lagging: int
    stuck: int
    partitions: int
    hosts: int


def advise(
    rules: Rules,
    memory: Scaling,
    partitions: Sequence[PartitionLag] | None,
    *,
    workers: int,
    hosts: int,
    now: float,
) -> tuple[Scaling, Advice | None]:
    """Return what to remember, and another number of workers if there should be one.

    ``partitions`` is ``None`` when the lag is not known: nothing changes then, and what looked like too many workers
    must look so anew. Nothing changes either when every partition is stuck: more or fewer workers are no answer to
    a broken dependency or a pause.
    """
    if not partitions:
        return replace(memory, fewer_since=None), None
    memory = replace(memory, moved=_moved(memory.moved, partitions, now=now))
    stuck = {place for place, (_, since) in memory.moved.items() if now - since >= rules.stuck_after}
    if len(stuck) == len(partitions):
        return replace(memory, fewer_since=None), None
    counted = [one.lag for one in partitions if one.lag and one.place not in stuck]
    wanted = _wanted(rules.range, counted, partitions=len(partitions), hosts=hosts)
    memory = replace(memory, fewer_since=_fewer_since(memory, wanted, workers=workers, now=now))
    to = _step(rules, memory, wanted, workers=workers, now=now)
    if to == workers:
        return memory, None
    reason = _reason(rules.range, counted, len(partitions), stuck=len(stuck), hosts=hosts)
    if to < workers:
        reason += f"; fewer than {workers} have been enough for {rules.cooldown:.0f} s"
    advice = Advice(
        to, reason, lag=sum(counted), lagging=len(counted), stuck=len(stuck), partitions=len(partitions), hosts=hosts
    )
    return replace(memory, changed_at=now, fewer_since=None), advice


def _moved(
    before: Mapping[Place, tuple[int, float]], partitions: Sequence[PartitionLag], *, now: float
) -> dict[Place, tuple[int, float]]:
    """Return the lagging partitions' offsets; one that moved, or did not lag before, begins now."""
    after = {}
    for one in partitions:
        if one.lag:
            offset, since = before.get(one.place, (None, now))
            after[one.place] = (one.committed, since if offset == one.committed else now)
    return after


def _wanted(wanted: WorkerRange, counted: Sequence[int], *, partitions: int, hosts: int) -> int:
    """Return this host's share of the workers that the lag asks for, within the range and the partitions."""
    everywhere = min(math.ceil(sum(counted) / wanted.target_lag), len(counted))
    here = max(wanted.min, math.ceil(everywhere / hosts))
    # More than partitions would be idle; yet a group is never without a worker.
    return max(1, min(here, wanted.max, partitions))


def _fewer_since(memory: Scaling, wanted: int, *, workers: int, now: float) -> float | None:
    if wanted >= workers:
        return None
    return now if memory.fewer_since is None else memory.fewer_since


def _step(rules: Rules, memory: Scaling, wanted: int, *, workers: int, now: float) -> int:
    """Return the next number of workers on the way to ``wanted``."""
    since_change = math.inf if memory.changed_at is None else now - memory.changed_at
    if wanted > workers:
        grown = min(wanted, max(rules.range.min, 2 * workers, 1))
        return grown if since_change >= rules.grow_every else workers
    rested = memory.fewer_since is not None and now - memory.fewer_since >= rules.cooldown
    return workers - 1 if wanted < workers and rested and since_change >= rules.cooldown else workers


def _reason(wanted: WorkerRange, counted: Sequence[int], partitions: int, *, stuck: int, hosts: int) -> str:
    text = f"lag {sum(counted)} in {len(counted)} of {partitions} partitions, target {wanted.target_lag} per worker"
    if hosts > 1:
        text += f", shared by {hosts} supervisors"
    if stuck:
        text += f"; {stuck} stuck partitions left out"
    return text
