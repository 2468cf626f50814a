"""What the headers of a dead letter say, whoever wrote it: this project, Spring Kafka, Kafka Connect. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.core.letters import PREFIX, audit_id

Headers = Sequence[tuple[str, bytes | None]]

REPLAY_COUNT = f"{PREFIX}replay-count"
"""How often the record was sent back from the dead letters; survives a further failure."""
REPLAY_OF = f"{PREFIX}replay-of"
"""The audit id of the first dead letter it was, the same however often it is replayed."""
REPLAY_NAME = f"{PREFIX}replay-name"
REPLAY_AGAIN = f"{PREFIX}replay-again"
"""``1`` on a copy that may be the second of one replay: the first may have been sent before it was interrupted."""
REPLAY_TIMESTAMP = f"{PREFIX}replay-timestamp"
REPLAY = (REPLAY_COUNT, REPLAY_OF, REPLAY_NAME, REPLAY_AGAIN, REPLAY_TIMESTAMP)

_SPRING = ("kafka_dlt-", "kafka_")
"""Of ``DeadLetterPublishingRecoverer``, and of ``@RetryableTopic``."""
_SPRING_PREFIXES = ("kafka_dlt-", "kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-")
_CONNECT = "__connect.errors."
_SHARE = "__dlq.errors."
_STREAMS = "__streams.errors."
_RETRY = "supervisor.retry."
"""Of retry topics: a replayed record begins anew, and is due at once."""
STORY_PREFIXES = (PREFIX, _RETRY, *_SPRING_PREFIXES, _CONNECT, _SHARE, _STREAMS)
"""What begins so tells of a failure, and is no header of the record's own."""
_NO_CLASS = "supervisor."
_CONVERTERS = ("KEY_CONVERTER", "VALUE_CONVERTER", "HEADER_CONVERTER")


class Convention(StrEnum):
    """Who wrote a letter's headers."""

    SUPERVISOR = "supervisor"
    SPRING = "spring"
    CONNECT = "connect"
    SHARE_GROUP = "share-group"
    STREAMS = "streams"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class LetterView:
    """One dead letter's story; what its headers do not say is empty or ``None``. Times are seconds since the epoch.

    ``topic``, ``partition``, ``offset`` and ``timestamp`` are those of the record it was. ``exceptions`` are class
    names, the outermost first; ``message`` may hold what the record held.
    """

    convention: Convention = Convention.NONE
    audit_id: str = ""
    topic: str = ""
    partition: int | None = None
    offset: int | None = None
    timestamp: float | None = None
    group: str = ""
    disposition: str = ""
    reason: str = ""
    attempts: int | None = None
    first_failed_at: float | None = None
    failed_at: float | None = None
    exceptions: tuple[str, ...] = ()
    message: str = ""
    replays: int = 0

    @property
    def exception(self) -> str:
        """The class that says most: the innermost."""
        return self.exceptions[-1] if self.exceptions else ""

    @property
    def origin(self) -> str:
        """``topic/partition@offset``, with ``?`` for what is not known."""
        part, offset = ("?" if number is None else number for number in (self.partition, self.offset))
        return f"{self.topic or '?'}/{part}@{offset}"


def view(headers: Headers) -> LetterView:
    """Return what ``headers`` say. Values that are not as their convention has them count as not there."""
    found = _Found(headers)
    readings = ((convention, read(found)) for convention, read in _READERS)
    convention, story = next(((one, told) for one, told in readings if told is not None), _NO_STORY)
    replayed_of = found.text(REPLAY_OF)
    named = found.text(f"{PREFIX}audit-id") or _audit_id(story)
    return LetterView(
        convention=convention,
        audit_id=replayed_of if convention is Convention.NONE else named,
        topic=story.topic,
        partition=within(1 << 31, story.partition),
        offset=within(1 << 63, story.offset),
        timestamp=story.timestamp,
        group=story.group,
        disposition=found.text(f"{PREFIX}disposition") or story.disposition,
        reason=story.reason,
        attempts=story.attempts,
        first_failed_at=story.first_failed_at,
        failed_at=story.failed_at,
        exceptions=story.exceptions,
        message=story.message,
        replays=max(0, found.number(REPLAY_COUNT) or 0),
    )


def first_audit_id(headers: Headers) -> str:
    """Return the audit id of the first letter that the record ever was."""
    return _Found(headers).text(REPLAY_OF) or view(headers).audit_id


_LONGEST_NUMBER = 19
_LONGEST_BINARY = 8
_LAST_SECOND = 1e15
"""What C's time functions take; headers come from anybody."""
_NO_STORY = (Convention.NONE, LetterView())


def _audit_id(story: LetterView) -> str:
    if not story.topic or story.partition is None or story.offset is None:
        return ""
    return audit_id(story.group or "-", story.topic, story.partition, story.offset)


def within(limit: int, number: int | None) -> int | None:
    """Return ``number`` where it can be a partition's or an offset's: from 0 on and below ``limit``."""
    return number if number is not None and 0 <= number < limit else None


def moment(seconds: float) -> float | None:
    """Return ``seconds`` since the epoch where clocks know such a time: numbers come from anybody."""
    return seconds if abs(seconds) < _LAST_SECOND else None


def _binary(value: bytes) -> int | None:
    return int.from_bytes(value, "big", signed=True) if 0 < len(value) <= _LONGEST_BINARY else None


class _Found:
    """Headers by name. Where one repeats, ``text`` and ``number`` take the last; ``first_*`` the first."""

    def __init__(self, headers: Headers) -> None:
        self._last: Mapping[str, bytes] = {name: value for name, value in headers if value is not None}
        self._first: Mapping[str, bytes] = {name: value for name, value in reversed(headers) if value is not None}

    def has(self, *names: str) -> bool:
        """Tell whether any of ``names`` is there."""
        return any(name in self._last for name in names)

    def text(self, *names: str) -> str:
        """Return the first of ``names`` that is there, as text."""
        return next((self._last[name].decode(errors="replace") for name in names if name in self._last), "")

    def first_text(self, *names: str) -> str:
        """As ``text``, of the first header of that name."""
        return next((self._first[name].decode(errors="replace") for name in names if name in self._first), "")

    def number(self, name: str) -> int | None:
        """Return a decimal number."""
        text = self.text(name)
        is_number = text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= _LONGEST_NUMBER
        return int(text) if is_number else None

    def seconds(self, name: str) -> float | None:
        """Return a time."""
        try:
            return moment(float(self.text(name)))
        except ValueError:
            return None

    def first_binary(self, *names: str) -> int | None:
        """Return a big-endian number, of the first header of the first name that is there."""
        return _binary(next((self._first[name] for name in names if name in self._first), b""))

    def binary(self, *names: str) -> int | None:
        """As ``first_binary``, of the last header."""
        return _binary(next((self._last[name] for name in names if name in self._last), b""))


def _supervisor(found: _Found) -> LetterView | None:
    if not found.has(f"{PREFIX}topic"):
        return None
    exception = found.text(f"{PREFIX}exception-type")
    return LetterView(
        topic=found.text(f"{PREFIX}topic"),
        partition=found.number(f"{PREFIX}partition"),
        offset=found.number(f"{PREFIX}offset"),
        timestamp=found.seconds(f"{PREFIX}timestamp"),
        group=found.text(f"{PREFIX}group"),
        reason=found.text(f"{PREFIX}reason"),
        attempts=found.number(f"{PREFIX}attempts"),
        first_failed_at=found.seconds(f"{PREFIX}first-failed-at"),
        failed_at=found.seconds(f"{PREFIX}failed-at"),
        exceptions=(exception,) if exception else (),
        message=found.text(f"{PREFIX}exception-message"),
    )


def _spring(found: _Found) -> LetterView | None:
    """Read Spring's headers: numbers are binary; origins may repeat, the first is where it all began."""

    def names(name: str) -> tuple[str, ...]:
        return tuple(prefix + name for prefix in _SPRING)

    if not found.has(*names("original-topic"), *names("exception-fqcn"), *names("key-exception-fqcn")):
        return None
    classes = [found.text(*names(f"{kind}-{one}")) for kind in ("exception", "key-exception") for one in _CLASSES]
    exceptions = tuple(dict.fromkeys(name for name in classes if name))
    milliseconds = found.first_binary(*names("original-timestamp"))
    failed = found.binary("retry_topic-backoff-timestamp")
    return LetterView(
        topic=found.first_text(*names("original-topic")),
        partition=found.first_binary(*names("original-partition")),
        offset=found.first_binary(*names("original-offset")),
        timestamp=None if milliseconds is None or milliseconds < 0 else milliseconds / 1000,
        group=found.first_text("kafka_dlt-original-consumer-group"),
        disposition=_disposition_of(exceptions),
        attempts=found.binary("retry_topic-attempts", "kafka_deliveryAttempt"),
        failed_at=None if failed is None else failed / 1000,
        exceptions=exceptions,
        message=found.text(*names("exception-message"), *names("key-exception-message")),
    )


_CLASSES = ("fqcn", "cause-fqcn")


def _disposition_of(exceptions: Sequence[str]) -> str:
    """Return what the classes say; where we wrote the letter for a death, its class is ``supervisor.worker-killed``."""
    ours = [name.removeprefix(_NO_CLASS) for name in exceptions if name.startswith(_NO_CLASS) and name.count(".") == 1]
    if ours:
        return ours[0]
    return "deserialization" if any("Deserialization" in name for name in exceptions) else "error"


def _connect(found: _Found) -> LetterView | None:
    if not found.has(f"{_CONNECT}topic"):
        return None
    is_undecodable = found.text(f"{_CONNECT}stage") in _CONVERTERS
    story = _plain(found, _CONNECT, exception="exception.class.name", message="exception.message")
    return replace(
        story,
        group=found.text(f"{_CONNECT}connector.name"),
        disposition="deserialization" if is_undecodable else _disposition_of(story.exceptions),
        reason=found.text(f"{_CONNECT}stage"),
    )


def _share_group(found: _Found) -> LetterView | None:
    if not found.has(f"{_SHARE}topic"):
        return None
    story = _plain(found, _SHARE, exception="", message="message")
    return replace(
        story,
        group=found.text(f"{_SHARE}group"),
        disposition=found.text(f"{_SHARE}disposition", "_dlq.errors.disposition"),
        attempts=found.number(f"{_SHARE}delivery.count"),
    )


def _streams(found: _Found) -> LetterView | None:
    if not found.has(f"{_STREAMS}topic"):
        return None
    return _plain(found, _STREAMS, exception="exception", message="message")


def _plain(found: _Found, prefix: str, *, exception: str, message: str) -> LetterView:
    """Read what Apache Kafka's own three conventions share: text, under names of each."""
    name = found.text(prefix + exception) if exception else ""
    return LetterView(
        topic=found.text(f"{prefix}topic"),
        partition=found.number(f"{prefix}partition"),
        offset=found.number(f"{prefix}offset"),
        disposition="error",
        exceptions=(name,) if name else (),
        message=found.text(prefix + message),
    )


_READERS: tuple[tuple[Convention, Callable[[_Found], LetterView | None]], ...] = (
    (Convention.SUPERVISOR, _supervisor),
    (Convention.SPRING, _spring),
    (Convention.CONNECT, _connect),
    (Convention.SHARE_GROUP, _share_group),
    (Convention.STREAMS, _streams),
)
