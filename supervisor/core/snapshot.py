"""What people and machines see of a running supervisor; values only, JSON through ``core.jsonable``."""

from dataclasses import dataclass, field
from enum import StrEnum

from supervisor.core.histogram import Exemplar, Histogram
from supervisor.core.lag import GroupLag


class SlotState(StrEnum):
    """States of a slot (quarantine is a state of records, not of slots)."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    LEAVING = "leaving"
    BACKOFF = "backoff"
    FATAL = "fatal"


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


@dataclass(frozen=True, slots=True)
class SlotSnapshot:
    """One slot. Readings that cannot be taken are ``None``, never zero. ``reason`` says why it is in its state.

    ``healthy``: its worker progresses, or waits for a stated reason; ``None`` before it is ready. ``after``: what a
    leaving slot is on the way to. ``paused``: it is to read nothing, by an operator's word or a retry policy's, or to
    be drained.
    """

    group: str
    slot: int
    state: SlotState
    pid: int | None = None
    uptime: float | None = None
    incarnation: int = 0
    restarts: int = 0
    joined: bool = False
    reason: str = ""
    next_start_in: float | None = None
    records_per_s: float | None = None
    rss_bytes: int | None = None
    cpu_percent: float | None = None
    stats: WorkerStats | None = None
    paused: bool = False
    healthy: bool | None = None
    open_fds: int | None = None
    threads: int | None = None
    after: SlotState | None = None


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """An open dependency breaker. ``since`` is wall time; ``next_probe`` is in seconds, of slot ``prober``.

    Both are ``None`` while there is no worker that could try. ``failed_probes``: how many tries failed in a row.
    """

    dependency: str
    since: float
    prober: int | None
    next_probe: float | None
    failed_probes: int = 0


@dataclass(frozen=True, slots=True)
class FloodSnapshot:
    """A flood guard that tripped. ``state``: ``tripped``, ``half-open`` or ``stopped``; ``since`` is wall time.

    ``resumes_in``: seconds until a few records try by themselves, ``None``: an operator says so, or they do.
    """

    state: str
    reason: str
    since: float
    action: str
    resumes_in: float | None = None


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """One configured group and its slots; ``slots`` may have more than ``workers`` while some are on their way out.

    ``paused``: every slot of it is. ``lag`` is of all its partitions, ``None`` when nobody looks.
    ``condition`` says what is not as usual with it as a whole, or is empty. ``breaker``: while a dependency is down.
    ``flood``: while too many records became dead letters.
    """

    name: str
    topics: tuple[str, ...]
    workers: int
    slots: tuple[SlotSnapshot, ...]
    paused: bool = False
    lag: GroupLag | None = None
    condition: str = ""
    breaker: BreakerSnapshot | None = None
    flood: FloodSnapshot | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole supervisor at one moment. ``at`` is wall time in seconds since the epoch."""

    supervisor: str
    version: str
    pid: int
    at: float
    uptime: float
    groups: tuple[GroupSnapshot, ...]
