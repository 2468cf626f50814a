"""What a worker says of itself to the parent: counters and gauges; JSON through ``core.jsonable``."""

from dataclasses import dataclass, field

from supervisor.core.histogram import Exemplar, Histogram


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """One owned partition: ``committed`` is the newest offset whose commit was confirmed, -1 before the first.

    ``stopped`` says why nothing is read from it until an operator says where to go on; else it is empty.
    """

    topic: str
    partition: int
    committed: int
    lag: int | None
    gap: int
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """Counters (since the incarnation began) and gauges of one worker, measured by itself.

    ``settled`` counts records that need no more work: processed, dead-lettered, dropped, ``copied`` to a retry topic,
    and duplicates: those whose key was worked before. ``lag`` is of the owned partitions, ``None`` while unknown.
    ``oldest`` is the age in seconds of the oldest record delivered but not settled. ``waits`` says why nothing moves,
    in the words of ``core.board.Wait``.
    ``paused``: told to read nothing, and all that is owned is paused. ``owned``: how many partitions, which are
    not all among ``partitions`` where there are very many. ``queue_fill``: the share of what may be held unsettled that
    is, by count or bytes.
    ``rebalances`` counts callbacks by kind; the histograms are those of ``worker.meters``, ``exemplars`` traced values
    of ``handled``.
    """

    settled: int = 0
    failed_attempts: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    duplicates: int = 0
    copied: int = 0
    in_flight: int = 0
    queued: int = 0
    queued_bytes: int = 0
    oldest: float = 0.0
    lag: int | None = None
    commits: int = 0
    commit_errors: dict[str, int] = field(default_factory=dict)
    waits: str = ""
    paused: bool = False
    partitions: tuple[PartitionStats, ...] = ()
    owned: int = 0
    received: int = 0
    retried: int = 0
    pauses: int = 0
    paused_partitions: int = 0
    queue_fill: float = 0.0
    rebalances: dict[str, int] = field(default_factory=dict)
    handled: Histogram = field(default_factory=Histogram)
    polled: Histogram = field(default_factory=Histogram)
    batches: Histogram = field(default_factory=Histogram)
    committing: Histogram = field(default_factory=Histogram)
    exemplars: tuple[Exemplar, ...] = ()
