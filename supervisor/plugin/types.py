"""The values that plugins and handlers meet. Names and meanings here are promises."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, cast, overload

if TYPE_CHECKING:  # workers need not import it: only type checkers look at the default
    from typing_extensions import TypeVar

    Data_co = TypeVar("Data_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    Data_co = TypeVar("Data_co", covariant=True)

from supervisor.core.record_headers import headers_of
from supervisor.plugin.extending import extend

Headers = Sequence[tuple[str, bytes | None]]

TIMESTAMP_TYPES = ("NoTimestampType", "CreateTime", "LogAppendTime")

Seconds = Annotated[float, "a duration"]
"""An option of this type may be written ``0.2`` or ``"200ms"`` in the config (dataclass ``Options`` only)."""


class Message(Protocol):
    """What a ``Record`` reads from: confluent-kafka's ``Message``, or a stand-in in tests."""

    def topic(self) -> str | None: ...  # noqa: D102
    def partition(self) -> int | None: ...  # noqa: D102
    def offset(self) -> int | None: ...  # noqa: D102
    def key(self) -> Any: ...  # noqa: ANN401, D102
    def value(self) -> Any: ...  # noqa: ANN401, D102
    def headers(self) -> Any: ...  # noqa: ANN401, D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102


_UNDECODED: Any = object()


class Record(Generic[Data_co]):
    """One Kafka record on its way through a handler. Read-only; may be kept after the handler returned.

    ``Record[Order]`` says what its ``data`` is; the decoders ``msgspec``, ``pydantic`` and ``protobuf`` make that of
    its value. Members are read from the client's message when asked for: building one costs a handler next to nothing.
    """

    __slots__ = ("_data", "_message", "attempt")

    attempt: int
    """1 for the first time a handler sees the record in this worker, one more for each retry."""

    def __init__(self, message: Message, attempt: int = 1, *, data: Any = _UNDECODED) -> None:  # noqa: ANN401
        self._message = message
        self.attempt = attempt
        if data is not _UNDECODED:
            self._data = data

    @property
    def data(self) -> Data_co:
        """What the group's decoder made of the value; the value itself with ``decode = "bytes"`` and in policies."""
        try:
            return cast("Data_co", self._data)
        except AttributeError:
            return cast("Data_co", self.value)

    @property
    def topic(self) -> str:
        """The topic the record was read from."""
        return self._message.topic() or ""

    @property
    def partition(self) -> int:
        """The partition the record was read from."""
        partition = self._message.partition()
        return -1 if partition is None else partition

    @property
    def offset(self) -> int:
        """The record's offset in its partition."""
        offset = self._message.offset()
        return -1 if offset is None else offset

    def extend(self, seconds: float) -> float:
        """Ask for ``seconds`` from now on for the call of the handler that has this record; return what is given.

        For honest long work, which ``handler_timeout`` would take for a hang. May be called again, in the handler's
        thread or a task of it; the deadline never moves back. It ends ``extend_limit`` after the first call.
        """
        return extend(seconds)

    @property
    def origin(self) -> tuple[str, int, int]:
        """Topic, partition and offset where the record was first read: other than its own in a retry topic.

        Every copy of a record has the same: what to be idempotent by.
        """
        origin: tuple[str, int, int] | None = getattr(self._message, "origin", None)
        return (self.topic, self.partition, self.offset) if origin is None else origin

    @property
    def key(self) -> bytes | None:
        """The raw key; ``None`` when the record has none."""
        key: bytes | None = self._message.key()
        return key

    @property
    def value(self) -> bytes | None:
        """The raw value; ``None`` for a tombstone."""
        value: bytes | None = self._message.value()
        return value

    @property
    def headers(self) -> Headers:
        """The headers in their order; names may repeat. One that is no UTF-8 is U+FFFD."""
        return headers_of(self._message)

    @property
    def timestamp(self) -> float | None:
        """Seconds since the epoch, as the producer or the broker stamped it; ``None`` when nobody did."""
        kind, milliseconds = self._message.timestamp()
        return None if kind == 0 else milliseconds / 1000

    @property
    def timestamp_type(self) -> str:
        """Who stamped it, in Kafka's words: ``CreateTime``, ``LogAppendTime`` (the broker), ``NoTimestampType``."""
        return TIMESTAMP_TYPES[self._message.timestamp()[0]]

    def __repr__(self) -> str:
        """Return the record's coordinates, never its value (P10)."""
        return f"Record({self.topic}/{self.partition}@{self.offset}, attempt={self.attempt})"


class Records(Sequence[Record]):
    """The records of a batch, made when first looked at: a handler pays only for what it reads."""

    __slots__ = ("_attempt", "_made", "_messages")

    def __init__(self, messages: Sequence[Message], attempt: int = 1) -> None:
        self._messages = messages
        self._attempt = attempt
        self._made: list[Record] | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._messages)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        """Return a record, or a list of them for a slice."""
        return self._list()[at]

    def __iter__(self) -> Iterator[Record]:
        """Go over the records in order."""
        return iter(self._list())

    def __repr__(self) -> str:
        """Return the coordinates of the first and the number of records, never a value (P10)."""
        return f"Records({len(self)} from {self._list()[0]!r})" if self._messages else "Records(0)"

    def _list(self) -> list[Record]:
        if self._made is None:
            self._made = list(map(Record, self._messages, repeat(self._attempt)))
        return self._made


class Claim(StrEnum):
    """What a store says of a key that somebody wants to work."""

    MINE = "mine"
    """Claimed by this call, or renewed by it."""
    BUSY = "busy"
    """Claimed by somebody else, whose lease is not over."""
    DONE = "done"
    """Worked before, and not long enough ago to be forgotten."""


class Disposition(StrEnum):
    """Why a record became a dead letter."""

    ERROR = "error"
    TIMEOUT = "timeout"
    WORKER_KILLED = "worker-killed"
    DESERIALIZATION = "deserialization"
    PLUGIN_ERROR = "plugin-error"
    BREAKER = "breaker"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, as a retry policy sees it. Times are seconds since the epoch."""

    record: Record
    error: BaseException
    attempt: int
    first_failed_at: float
    failed_at: float


@dataclass(frozen=True, slots=True)
class Retry:
    """Try the record again, in place, ``after`` seconds from now; its lane waits, other lanes go on."""

    after: float


@dataclass(frozen=True, slots=True)
class RetryTopic:
    """Copy the record to the group's next retry topic, or to the first later one in which it waits ``after`` seconds.

    Where none waits as long it is the last one. Once it was in the last, it becomes a dead letter.
    """

    after: float | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Give the record up to the dead-letter sink.

    ``reason`` stands in the letter and nowhere else, at most 200 characters of it on one line, as every reason.
    """

    reason: str = ""
    disposition: Disposition = Disposition.ERROR


@dataclass(frozen=True, slots=True)
class Drop:
    """Let the record go. Counted and logged with its coordinates and ``reason``; nothing else keeps it.

    No record's values in ``reason``.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class DependencyDown:
    """Say that what the handler needs is away, by its ``name``: no record of the group is begun until it is back.

    As if the handler had raised ``DependencyDownError``: the attempt counts for nothing. Operators are shown the name.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Crash:
    """End the worker at once; its slot starts again, and the record comes again, as does all that is not committed.

    For a process that cannot be trusted any more. ``reason`` stands in the event of the death: no record's values.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the whole group, as ``supervisor pause`` does; the record waits until ``supervisor resume``.

    One event per pause, with ``reason``: no record's values.
    """

    reason: str


Decision = Retry | RetryTopic | DeadLetter | Drop | Crash | Pause | DependencyDown


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, ready to be written: raw key and value, the origin's headers followed by ours.

    ``topic`` is where a Kafka sink writes it, on ``source_partition`` when that topic has it.
    ``audit_id`` (``group/topic/partition/offset``) is the same on every copy: dead letters are at least once.
    """

    audit_id: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    source_topic: str
    source_partition: int
    source_offset: int
    disposition: Disposition
    timestamp: float | None = None


@dataclass(slots=True)
class Produce:
    """A record that a handler or sink returns to be produced; ``timestamp`` is in seconds since the epoch.

    It is confirmed by the brokers before the offset of the record it came from moves; with ``delivery =
    "exactly-once"`` both happen in one transaction. ``partition`` falls back to the partitioner where the topic has
    fewer. Not frozen only because that costs a handler a microsecond each.
    """

    topic: str
    key: bytes | str | None = field(default=None, repr=False)
    value: bytes | str | None = field(default=None, repr=False)
    headers: Headers = field(default=(), repr=False)
    partition: int | None = None
    timestamp: float | None = None


class Send(Protocol):
    """Send a record with the worker's own producer; the future ends with the broker's word (or its error).

    Any thread. Never blocks for the network; raises ``BufferError`` when the producer's queue is full.
    """

    def __call__(  # noqa: D102
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp: float | None = None,
    ) -> "Future[None]": ...


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a plugin may know and use of the worker it runs in. ``state_dir`` exists and is writable."""

    supervisor: str
    group: str
    slot: int
    incarnation: int
    state_dir: str
    produce: Send
