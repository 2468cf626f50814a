"""What is asked about dead letters and what is answered: values between the command line, a page and the inspector."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from supervisor.core.letter_view import Headers, LetterView, view
from supervisor.core.replay import Filter, ReasonCount, fingerprint
from supervisor.core.spec import GroupSpec


class Verb(StrEnum):
    """What is to be done with the letters that are meant."""

    LIST = "list"
    SHOW = "show"
    STATS = "stats"
    EXPORT = "export"
    REPLAY = "replay"
    DROP = "drop"
    DRAIN = "drain"


class Place(StrEnum):
    """Where letters lie."""

    KAFKA = "kafka"
    FILE = "file"
    SQLITE = "sqlite"


SINKS: Mapping[str, Place] = {"dlq_kafka": Place.KAFKA, "dlq_file": Place.FILE, "dlq_sqlite": Place.SQLITE}
"""Where our own sinks write."""
DEFAULT_REPLAY = "default"


def replay_name(verb: Verb, meant: Filter, replay: "Replay") -> str:
    """Return what a replay is called that nobody gave a name: each filter and destination is a replay of its own."""
    if replay.name:
        return replay.name
    is_plain = verb is not Verb.REPLAY or (meant.is_empty and not replay.to and not replay.by_key)
    return DEFAULT_REPLAY if is_plain else fingerprint(meant, to=replay.to, by_key=replay.by_key)


@dataclass(frozen=True, slots=True)
class Where:
    """Which letters: ``topics`` or ``files`` instead of those that the group's own sink writes.

    ``files`` are paths of files (or a folder) of ``place``.
    """

    place: Place = Place.KAFKA
    topics: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """How letters are sent back. ``rate`` is letters per second, 0: as fast as it goes.

    ``name`` tells replays apart: each goes on where it stopped. ``restart``: begin it anew. ``seconds``: stop after so
    long, 0: not before the end.
    """

    name: str = ""
    to: str = ""
    by_key: bool = False
    rate: float = 0.0
    max_replays: int = 3
    most: int = 0
    restart: bool = False
    seconds: float = 0.0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class DlqRequest:
    """One question or order, for ``python -m supervisor.inspector.dlq``.

    ``pending``: only what the replay of ``replay.name`` has not passed yet. ``limit``: the newest so many, 0: all.
    ``one`` is a letter's id or audit id. ``values``: whether what the records held is answered, too (P10).
    """

    verb: Verb
    group: GroupSpec
    state_dir: str
    parent_pid: int
    where: Where = field(default_factory=Where)
    meant: Filter = field(default_factory=Filter)
    replay: Replay = field(default_factory=Replay)
    pending: bool = False
    limit: int = 50
    one: str = ""
    values: bool = False
    supervisor: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A letter where it lies: ``position`` in ``place`` (a partition, a file, a table); the next is at ``after``.

    ``topic`` is the dead-letter topic it is, or would be, in. ``written_at`` is seconds since the epoch.
    """

    place: str
    position: int
    after: int
    topic: str
    partition: int | None
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Headers = field(repr=False)
    written_at: float | None
    view: LetterView

    @property
    def id(self) -> str:
        """The letter's name for people: ``orders.dlq/0@12``."""
        return f"{self.place}@{self.position}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter as it is shown; ``headers`` are text, ``value`` (base64) only where it was asked for."""

    id: str
    written_at: float | None
    size: int
    view: LetterView
    key: str | None = None
    headers: tuple[tuple[str, str | None], ...] = ()
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How far something is. ``read`` of about ``total`` letters; the others say what became of those.

    ``passed``: not meant by the filter. ``homeless``: nothing says where they came from. ``unreadable``: no letters.
    ``again``: sent, and perhaps sent before, by the same replay before it was interrupted. Of a drain: ``rejected``
    were put aside, because no sink can ever take them; ``files`` were emptied.
    """

    total: int = 0
    read: int = 0
    passed: int = 0
    sent: int = 0
    parked: int = 0
    homeless: int = 0
    unreadable: int = 0
    again: int = 0
    rejected: int = 0
    files: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """How many letters there are of each origin topic, and in each place."""

    origins: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    replays: Mapping[str, int] = field(default_factory=dict)
    oldest: float | None = None
    newest: float | None = None


@dataclass(frozen=True, slots=True)
class DlqAnswer:
    """The end of every question or order; ``error`` says why it was not done, or not to its end.

    ``stopped``: it was told to stop before its end. ``killed``: it ended without a word, however it came to that;
    ``counts`` are what it had told before, and more may have been done. ``resumed``: it went on where an earlier one
    had stopped.
    ``kept``: why letters that were meant were not dropped; of a drain, the files that are not empty yet.
    """

    counts: Counts = field(default_factory=Counts)
    letters: tuple[Letter, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    parts: Parts = field(default_factory=Parts)
    error: str = ""
    stopped: bool = False
    killed: bool = False
    resumed: bool = False
    kept: tuple[str, ...] = ()


def letter_named(name: str) -> tuple[str, int] | None:
    """Return the place and the position that ``name`` has as a letter's ``id``, ``None`` when it is none.

    An audit id may hold an ``@``, too: groups are called anything.
    """
    place, _, position = name.rpartition("@")
    is_position = position.isascii() and position.isdecimal() and len(position) <= _LONGEST_POSITION
    return (place, int(position)) if place and is_position else None


_LONGEST_POSITION = 18


def stored(  # noqa: PLR0913 - the members of a letter
    place: str,
    position: int,
    after: int,
    *,
    topic: str,
    partition: int | None,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    written_at: float | None,
) -> Stored:
    """Return a letter with what its headers say."""
    return Stored(place, position, after, topic, partition, key, value, headers, written_at, view(headers))
