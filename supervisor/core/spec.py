"""What a worker is told to be: made from the config by the parent, sent as its first frame.

Every value is resolved: secrets are in clear (the frame goes over a socketpair, never through argv or
the environment), durations are seconds, paths absolute.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from supervisor.core.backoff import Backoff
from supervisor.core.letters import Profile


class Mode(StrEnum):
    """What an incarnation is for: to work, or only to leave the group in a dead one's name."""

    WORK = "work"
    LEAVE = "leave"


class End(StrEnum):
    """The two ways to end: stay a member of the group (a restart will follow), or leave it."""

    KEEP = "keep"
    LEAVE = "leave"


class Ordering(StrEnum):
    """Which records wait for each other (P2)."""

    PARTITION = "partition"
    KEY = "key"
    NONE = "none"


class Delivery(StrEnum):
    """What a crash may do to handlers' outputs: repeat them, or nothing that a ``read_committed`` reader can see."""

    AT_LEAST_ONCE = "at-least-once"
    EXACTLY_ONCE = "exactly-once"


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """One plugin to load: ``target`` is ``module:attr``, an entry point's name, or a file of the plugins folder."""

    target: str
    options: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class PluginsSpec:
    """Plugins, and where they are looked for: extra entries of ``sys.path`` (the config's folder, its ``plugins/``)."""

    plugins: tuple[PluginSpec, ...] = ()
    search_path: tuple[str, ...] = ()


class Then(StrEnum):
    """What becomes of a record whose attempts are used up."""

    DEAD_LETTER = "dead-letter"
    DROP = "drop"
    CRASH = "crash"
    PAUSE = "pause"
    TOPIC = "topic"


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How failures with one exception class (``error``: ``module:Class``) are treated, in place of the group's way."""

    error: str
    attempts: int
    backoff: Backoff
    then: Then


@dataclass(frozen=True, slots=True)
class RetryTier:
    """One step of the retry topics: how long a record waits there (seconds), and that as a part of topics' names."""

    label: str
    delay: float


@dataclass(frozen=True, slots=True)
class RetrySpec:
    """When a failed record is tried again. ``permanent`` names exception classes (``module:Class``) never retried.

    ``rules`` are in the order in which they are asked. ``tiers`` are the retry topics, the shortest delay first, called
    after ``topic`` with ``{topic}``, ``{delay}`` and ``{group}``.
    """

    attempts: int
    backoff: Backoff
    permanent: tuple[str, ...] = ()
    rules: tuple[RetryRule, ...] = ()
    then: Then = Then.DEAD_LETTER
    tiers: tuple[RetryTier, ...] = ()
    topic: str = "{topic}.retry.{delay}"


@dataclass(frozen=True, slots=True)
class BreakerSpec:
    """What says that a dependency is down, beside ``DependencyDownError``, and the waits between two tries."""

    errors: tuple[str, ...] = ()
    probe: Backoff = field(default_factory=lambda: Backoff(initial=0.5, factor=2.0, max=30.0, jitter=0.25))


@dataclass(frozen=True, slots=True)
class BreakerOrder:
    """What a worker is told of its group's breaker: whether to hold, and whether it tries, first in ``after`` seconds.

    ``failures``: how many tries failed so far, whoever made them.
    """

    is_open: bool = False
    name: str = ""
    probes: bool = False
    failures: int = 0
    after: float = 0.0


class FloodAction(StrEnum):
    """What happens when too many records become dead letters: all wait, the group ends, or what fails is dropped."""

    PAUSE = "pause"
    STOP = "stop"
    SHED = "shed"


class FloodState(StrEnum):
    """Whether dead letters are written as usual, not at all, or by a few records that try."""

    NORMAL = "normal"
    TRIPPED = "tripped"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class FloodSpec:
    """When so many records become dead letters that it is a flood; 0 switches a limit off, and so do the defaults.

    ``ratio`` is of at least ``min_records`` settled within ``window`` seconds, ``rate_count`` within ``rate_seconds``.
    ``resume_after``: seconds until a few records try by themselves, ``None``: an operator says so.
    """

    ratio: float = 0.0
    min_records: int = 100
    window: float = 60.0
    consecutive: int = 0
    rate_count: int = 0
    rate_seconds: float = 1.0
    action: FloodAction = FloodAction.PAUSE
    resume_after: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether there is any limit."""
        return bool(self.ratio or self.consecutive or self.rate_count)


@dataclass(frozen=True, slots=True)
class FloodOrder:
    """What a worker is told of its group's guard. ``amnesty``: no flood until a whole window was within the limits."""

    state: FloodState = FloodState.NORMAL
    amnesty: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetterSpec:
    """Where records go that failed for good. ``topic`` may hold ``{topic}``; ``timeout`` bounds one try to write.

    ``headers``: whose conventions they follow. ``create``: a topic that is missing may be made.
    """

    sink: str
    fallback: str
    topic: str
    timeout: float
    headers: Profile = Profile.TEXT
    create: bool = False


@dataclass(frozen=True, slots=True)
class CommitSpec:
    """``mode`` is ``manual`` (by ``count`` records and ``interval`` seconds) or ``automatic`` (librdkafka's timer).

    ``metadata``: what is settled above the committed offset is written into the commit's metadata.
    """

    mode: str
    count: int
    interval: float
    metadata: bool = False


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """How many records one ``process_batch`` call gets at most, and how long it may wait for them (seconds)."""

    size: int
    age: float


@dataclass(frozen=True, slots=True)
class IdempotencySpec:
    """Which plugin keeps the keys of worked records, what a key is, and for how many seconds claims and keys are kept.

    ``key`` is ``offset``, ``header:NAME`` or a user's ``module:function``.
    """

    store: str
    key: str
    ttl: float
    lease: float


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """All that a worker needs to know of its group.

    ``out_of_range`` is where to go on when the position is not in the partition: ``stop``, ``earliest``, ``latest``.
    ``decoder``: the plugin that makes ``record.data``, empty: nothing does.
    ``max_deaths``: of its workers that a record may cause; 0: nobody keeps a ledger, and it is not asked for.
    ``preload``: the user's modules that the process was forked with; an exec'd one imports them when it comes to them.
    ``code_version`` is what the user calls the code that runs, for dead letters.
    """

    name: str
    topics: tuple[str, ...]
    handler: str
    plugins: PluginsSpec
    ordering: Ordering
    concurrency: int
    delivery: Delivery
    protocol: str
    handler_timeout: float
    max_gap: int
    queue_records: int
    queue_bytes: int
    revoke_timeout: float
    retry: RetrySpec
    dead_letters: DeadLetterSpec
    commit: CommitSpec
    batch: BatchSpec
    kafka: dict[str, str | int | float | bool] = field(repr=False)
    out_of_range: str = "stop"
    extend_limit: float = 3600.0
    preload: tuple[str, ...] = ()
    code_version: str = ""
    decoder: str = ""
    breaker: BreakerSpec = field(default_factory=BreakerSpec)
    max_deaths: int = 0
    flood: FloodSpec = field(default_factory=FloodSpec)
    idempotency: IdempotencySpec | None = None


@dataclass(frozen=True, slots=True)
class LimitsSpec:
    """What a worker sets for itself before any user code. ``nice`` is added, ``rlimits`` are by name, -1 is no limit.

    ``spread``: take the one processor that is its turn of those allowed. ``cgroup``: the folder of the cgroup to
    join, made by the parent with ``memory_max`` (bytes) and ``cpu_quota`` (processors); empty: stay where it is.
    """

    nice: int = 0
    cpus: tuple[int, ...] = ()
    spread: int | None = None
    rlimits: dict[str, int] = field(default_factory=dict)
    memory_max: int | None = None
    cpu_quota: float | None = None
    cgroup: str = ""


@dataclass(frozen=True, slots=True)
class LogFileSpec:
    """A slot's log file: rotated at ``max_size`` bytes, ``keep`` older ones stay beside it."""

    path: str
    max_size: int
    keep: int


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One incarnation of one slot."""

    supervisor: str
    group: GroupSpec
    slot: int
    incarnation: int
    mode: Mode
    parent_pid: int
    state_dir: str
    orphan_grace: float
    log_format: str
    log_level: str
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    log_file: LogFileSpec | None = None
    paused: bool = False
    """Read nothing until told to go on; a member all the same."""
    breaker: BreakerOrder = field(default_factory=BreakerOrder)
    flood: FloodOrder = field(default_factory=FloodOrder)

    @property
    def instance_id(self) -> str:
        """The static member id (KIP-345), the same for every incarnation of the slot."""
        return f"{self.supervisor}-{self.group.name}-{self.slot}"

    @property
    def is_static(self) -> bool:
        """Whether the member id outlives the process.

        Classic groups only: a KIP-848 static id locks out its own replacement.
        """
        return self.group.protocol == "classic"
