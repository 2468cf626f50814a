"""The life of a slot: its states, what can happen to it, and what is to be done about it. Values only.

``core.slot_rules.step`` is the machine over these. A slot is a stable place in a group (``orders/1``); each
process that fills it is one *incarnation*. At most one process fills a slot at a time (P4).
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from supervisor.core.backoff import Backoff
from supervisor.core.events import Scalar, Severity
from supervisor.core.exits import ExitClass
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode

DEFAULT_BACKOFF = Backoff(initial=1.0, factor=2.0, max=60.0, jitter=0.5)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a group's slots are restarted and stopped; seconds.

    ``backoff`` gives the delays after the first restart, which is immediate. ``stop_timeout`` is for
    draining; the worker has ``close_timeout`` more to commit and close before it is told by signal.
    ``hung_timeout`` is what a hung worker gets after SIGTERM to let its other records finish.
    ``is_static``: a dead member keeps its partitions (classic groups with static ids), so a slot that stays
    down must leave in a process of its own.

    A death that accuses records is followed by a start at once and raises no delay, ``accusing_deaths`` times within
    ``accusing_window``: a handler that every record kills must not become a storm.

    ``flapping_failures`` within ``flapping_window`` make a slot *flapping*. The group's rules (``core.group_rules``)
    read ``never_ready_limit``, ``group_failures`` (0: any number is fine) within ``group_window``, and
    ``canary_healthy``.
    """

    backoff: Backoff = DEFAULT_BACKOFF
    never_ready_limit: int = 5
    healthy_after: float = 60.0
    flapping_failures: int = 5
    flapping_window: float = 300.0
    group_failures: int = 5
    group_window: float = 60.0
    canary_healthy: float = 10.0
    accusing_deaths: int = 60
    accusing_window: float = 60.0
    fenced_delay: float = 45.0
    fenced_memory: float = 600.0
    failover_after: float = 5.0
    is_static: bool = True
    supervisor: str = ""
    start_timeout: float = 60.0
    stop_timeout: float = 30.0
    close_timeout: float = 5.0
    fast_timeout: float = 2.0
    leave_timeout: float = 20.0
    dump_timeout: float = 2.0
    term_timeout: float = 5.0
    hung_timeout: float = 12.0
    abort_timeout: float = 10.0
    kill_timeout: float = 5.0


class Process(StrEnum):
    """Whether a process fills the slot. ``ASKED``: one was asked for and may come any moment."""

    NONE = "none"
    ASKED = "asked"
    LIVE = "live"


class Rung(IntEnum):
    """How far the ladder of ending a process has been climbed; each rung has its own deadline."""

    NONE = 0
    ASK = 1
    DUMP = 2
    TERM = 3
    ABORT = 4
    KILL = 5


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot at one moment. Times are monotonic seconds.

    ``wanted``: somebody wants it to run. ``asked``: this incarnation was asked to end. ``worn``: it has used up
    what it may and is replaced; ``heavy``: it is ended for its memory. ``member``: a static
    member of this name may still own partitions at the broker. ``after``: the state that follows LEAVING.
    ``deadline``: when the slot must be looked at again. ``failures`` is the backoff's exponent, ``failed_at`` the
    times of the newest ones, ``accusing_at`` those of deaths that accused records. ``parked``: after a failure it waits
    for its group's canary. ``doomed``: its group was given up while its process lives. ``hopeless``: its last process
    called the configuration wrong.
    """

    state: SlotState = SlotState.STOPPED
    process: Process = Process.NONE
    mode: Mode = Mode.WORK
    incarnation: int = 0
    wanted: bool = False
    held: bool = False
    asked: bool = False
    fast: bool = False
    hung: bool = False
    worn: bool = False
    heavy: bool = False
    ready: bool = False
    joined: bool = False
    ever_ready: bool = False
    member: bool = False
    end: End = End.LEAVE
    rung: Rung = Rung.NONE
    deadline: float | None = None
    start_at: float = 0.0
    after: SlotState = SlotState.STOPPED
    failures: int = 0
    last_delay: float = 0.0
    healthy_since: float | None = None
    never_ready: int = 0
    fencings: int = 0
    fenced_at: float = 0.0
    failed_leaves: int = 0
    restarts: int = 0
    reason: str = ""
    last_exit: ExitClass | None = None
    failed_at: tuple[float, ...] = ()
    accusing_at: tuple[float, ...] = ()
    flapping: bool = False
    parked: bool = False
    doomed: bool = False
    hopeless: bool = False


# What can happen to a slot.


@dataclass(frozen=True, slots=True)
class Start:
    """Somebody wants the slot to run: the supervisor at its start, or an operator."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody wants the slot down. ``fast``: two seconds, then SIGKILL, and nobody leaves in its name."""

    end: End = End.LEAVE
    fast: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """An operator wants a new process in the slot; no failure."""


@dataclass(frozen=True, slots=True)
class Hold:
    """An operator wants the slot to stay down when its process next ends."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """The process that was asked for exists."""

    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The process that was asked for could not be made (``EAGAIN``, ``EMFILE``, ``ENOMEM``)."""

    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker's handler and plugins are loaded and its poll loop turns."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The worker's first assignment came."""


@dataclass(frozen=True, slots=True)
class Hung:
    """The worker makes no progress and states no reason; ``text`` says what was seen."""

    text: str


@dataclass(frozen=True, slots=True)
class Recycle:
    """The worker has used up what it may (``core.limits``); ``text`` says of what. A new process, no failure."""

    text: str
    severity: Severity = Severity.INFO
    fields: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overweight:
    """The worker holds more memory than it ever may; ``text`` says how much."""

    text: str
    fields: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone. ``status`` as ``subprocess`` has it; ``detail`` names its records or last words.

    ``left``: whether it left the group, ``None`` when it did not say. ``oom``: the kernel killed it for memory.
    ``accuses``: records are accused of it, which says nothing against the program.
    """

    status: int
    detail: str = ""
    left: bool | None = None
    oom: bool = False
    accuses: bool = False
    fields: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. ``healthy``: the worker progresses or waits for a stated reason."""

    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Stood:
    """The parent stood still for ``seconds``: what a live process owed in that time it could not show."""

    seconds: float


# What a group asks of its slots.


@dataclass(frozen=True, slots=True)
class Park:
    """The group fails as a whole: after a failure the slot waits until it is released."""


@dataclass(frozen=True, slots=True)
class Release:
    """The slot may start again, by its own backoff."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The group is given up; only a worker that is ready goes on."""

    reason: str


Demand = Park | Release | GiveUp
Order = Start | Stop | Restart | Hold
News = Spawned | SpawnFailed | Ready | Joined | Hung | Recycle | Overweight | Exited | Tick | Stood
SlotEvent = Order | Demand | News


# What is to be done.


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a process as soon as the slot's lock is free; answer with ``Spawned`` or ``SpawnFailed``."""

    incarnation: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class CancelSpawn:
    """Forget the process that was asked for; it will not come."""


@dataclass(frozen=True, slots=True)
class SendStop:
    """Ask the worker to end: it may drain for ``timeout`` seconds."""

    end: End
    timeout: float


@dataclass(frozen=True, slots=True)
class Signal:
    """Send what the rung means: DUMP USR1, TERM, ABORT, KILL (the whole process group)."""

    rung: Rung


@dataclass(frozen=True, slots=True)
class Report:
    """Tell people: becomes one ``core.events.Event`` of this slot."""

    name: str
    severity: Severity
    text: str = ""
    fields: dict[str, Scalar] = field(default_factory=dict)


Effect = Spawn | CancelSpawn | SendStop | Signal | Report
Effects = tuple[Effect, ...]
Step = tuple[Slot, Effects]
