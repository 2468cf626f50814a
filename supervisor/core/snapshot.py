"""What people and machines see of a running supervisor; values only, JSON through ``core.jsonable``."""

from dataclasses import dataclass
from enum import StrEnum

from supervisor.core.lag import GroupLag
from supervisor.core.worker_stats import WorkerStats


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
