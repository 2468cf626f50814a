"""What the control API answers besides ``core.snapshot.Snapshot``; JSON through ``core.jsonable``."""

from dataclasses import dataclass, field

from supervisor.core.alert_flow import Silence
from supervisor.core.dlq import Counts, DlqAnswer
from supervisor.core.events import Event, Severity
from supervisor.core.resets import OffsetsAnswer


@dataclass(frozen=True, slots=True)
class Accepted:
    """An action that was taken on: ``slots`` (``group/slot``) are concerned, the snapshot shows what becomes of it.

    For ``resume`` they are partitions (``topic/partition``).
    """

    text: str
    slots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that takes its time, and how it stands: ``running``, ``done`` or ``failed``.

    ``lines`` is what it did so far. ``error`` says why it failed; ``code`` is what a command that waits for it exits
    with.
    """

    number: int
    verb: str
    target: str
    state: str
    lines: tuple[str, ...] = ()
    error: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event and its number, which grows by one per event and goes on over restarts of the supervisor."""

    seq: int
    event: Event


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events after the ``since`` that was asked for. ``dropped`` were forgotten before anybody asked.

    ``newest`` is the number of the newest event there is, wanted or not. ``is_complete`` is false when the journal
    could not be read and only the supervisor's memory was asked.
    """

    entries: tuple[EventEntry, ...]
    dropped: int = 0
    newest: int = 0
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """A condition that people were told of and that is not over; ``since`` is wall time."""

    name: str
    severity: Severity
    group: str
    slot: int | None
    text: str
    since: float


@dataclass(frozen=True, slots=True)
class AlertsAnswer:
    """What fires, what is silenced, and how many events were not told because of that."""

    firing: tuple[FiringAlert, ...] = ()
    silences: tuple[Silence, ...] = ()
    silenced: int = 0


@dataclass(frozen=True, slots=True)
class OffsetsJob:
    """A question or change of a group's offsets: where it stands, and its ``answer`` once it ``is_done``."""

    id: int
    group: str
    phase: str
    is_done: bool = False
    answer: OffsetsAnswer = field(default_factory=OffsetsAnswer)


@dataclass(frozen=True, slots=True)
class DlqJob:
    """Something that is done with dead letters: how far it is, and its ``answer`` once it ``is_done``."""

    number: int
    verb: str
    group: str
    counts: Counts = field(default_factory=Counts)
    is_done: bool = False
    answer: DlqAnswer = field(default_factory=DlqAnswer)


@dataclass(frozen=True, slots=True)
class DlqLines:
    """Some of the letters that a job exports, each a line of JSON; ``is_end``: no more will come.

    ``first`` is how many were handed out before. Whoever has them asks for what comes after ``first`` and these.
    """

    number: int
    first: int
    lines: tuple[str, ...] = field(default=(), repr=False)
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was done, and what to do instead."""

    error: str
    help: str = ""
