"""The headers of a dead letter, in three profiles: ours in text, Spring Kafka's, Kafka Connect's; and how they shrink.

They stand behind the record's own. ``docs/dead-letters.md`` has the table; names are promises.
"""

import traceback
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

PREFIX = "supervisor.dlq."
AUDIT_ID = PREFIX + "audit-id"
CARRIED = frozenset({PREFIX + "replay-count", PREFIX + "replay-of"})
"""Of an earlier life of the letter, and still true of it after another failure."""
SPRING = "kafka_dlt-"
CONNECT = "__connect.errors."
MAX_MESSAGE = 1024
MAX_STACK = 8 * 1024
MAX_LOG = 8 * 1024

Headers = tuple[tuple[str, bytes | None], ...]


class Profile(StrEnum):
    """Whose conventions the headers follow. All of them have our audit id."""

    TEXT = "text"
    SPRING = "spring"
    CONNECT = "connect"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a dead letter comes from and why. Times are seconds since the epoch.

    ``worker`` is the member id. ``signal`` (``SIGSEGV``), ``exit_code``, ``stack`` and ``log_lines`` (oldest first) are
    of a process that died or hung, as far as they are known. ``timestamp_type`` is in Kafka's words.
    """

    group: str
    worker: str
    topic: str
    partition: int
    offset: int
    timestamp: float | None
    disposition: str
    reason: str
    attempts: int
    first_failed_at: float
    failed_at: float
    error: BaseException | None = None
    signal: str = ""
    exit_code: int | None = None
    stack: str = ""
    log_lines: tuple[str, ...] = ()
    slot: int = 0
    handler: str = ""
    code_version: str = ""
    timestamp_type: str = "CreateTime"


def audit_id(group: str, topic: str, partition: int, offset: int) -> str:
    """Return what every copy of one dead letter carries."""
    return f"{group}/{topic}/{partition}/{offset}"


def dead_letter_headers(own: Headers, origin: Origin, profile: Profile = Profile.TEXT) -> Headers:
    """Return the record's own headers followed by ours.

    Ours of an earlier life (a replayed letter that failed again) are replaced, so that the newest failure
    is the only one a reader finds; but where Spring's come from is added each time, as Spring does it.
    """
    kept = [(name, value) for name, value in own if not name.startswith(PREFIX) or name in CARRIED]
    match profile:
        case Profile.TEXT:
            ours = [(PREFIX + name, _bytes(value)) for name, value in _text(origin).items()]
        case Profile.SPRING:
            kept = [(name, value) for name, value in kept if not name.startswith(SPRING + "exception-")]
            ours = [(SPRING + name, value) for name, value in _spring(origin).items()]
        case Profile.CONNECT:
            kept = [(name, value) for name, value in kept if not name.startswith(CONNECT)]
            ours = [(CONNECT + name, _bytes(value)) for name, value in _connect(origin).items()]
        case _:
            assert_never(profile)
    if profile is not Profile.TEXT:
        ours.append((AUDIT_ID, _bytes(_audit_id(origin))))
    return (*kept, *ours)


def shorter(headers: Headers, profile: Profile = Profile.TEXT) -> Headers | None:
    """Return a letter's headers without the next of ours that can be spared; ``None`` when all of ours are gone.

    For a topic that refuses the letter as too large. In this order: log lines, stack, message and reason, all but the
    audit id and the number of replays, these too. What the record itself brought stays.
    """
    for is_spared in (_is_log, _is_stack, _is_message, _is_rest, _is_any):
        left = tuple(one for one in headers if not (_is_ours(one[0], profile) and is_spared(one[0])))
        if len(left) < len(headers):
            return left
    return None


def where(error: BaseException) -> str:
    """Return ``file.py:12`` of the innermost frame: a place, and nothing a record could have written (P10)."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"


def _text(origin: Origin) -> dict[str, str]:
    fields = {
        "audit-id": _audit_id(origin),
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(origin.offset),
        "timestamp": "" if origin.timestamp is None else f"{origin.timestamp:.3f}",
        "group": origin.group,
        "worker": origin.worker,
        "disposition": origin.disposition,
        "reason": origin.reason[:MAX_MESSAGE],
        "attempts": str(origin.attempts),
        "first-failed-at": f"{origin.first_failed_at:.3f}",
        "failed-at": f"{origin.failed_at:.3f}",
    }
    if origin.error is not None:
        fields["exception-type"] = _name(origin.error)
        fields["exception-message"] = _message(origin.error)
        fields["exception-stack"] = _stack(origin.error)
    known = {
        "handler": origin.handler,
        "code-version": origin.code_version,
        "signal": origin.signal,
        "exit-code": "" if origin.exit_code is None else str(origin.exit_code),
        "stack": origin.stack[-MAX_STACK:],
        "log-lines": _newest(origin.log_lines),
    }
    return fields | {name: value for name, value in known.items() if value}


def _spring(origin: Origin) -> dict[str, bytes]:
    """``DeadLetterPublishingRecoverer``: numbers are big-endian, times in milliseconds, -1 is Java's "no timestamp"."""
    milliseconds = -1 if origin.timestamp is None else round(origin.timestamp * 1000)
    kind = "NoTimestampType" if origin.timestamp is None else origin.timestamp_type
    cause = None if origin.error is None else origin.error.__cause__
    fields = {
        "original-topic": _bytes(origin.topic),
        "original-partition": origin.partition.to_bytes(4, "big", signed=True),
        "original-offset": origin.offset.to_bytes(8, "big", signed=True),
        "original-timestamp": milliseconds.to_bytes(8, "big", signed=True),
        "original-timestamp-type": _bytes(kind),
        "original-consumer-group": _bytes(origin.group),
        "exception-fqcn": _bytes(_class_of(origin)),
    }
    if cause is not None:
        fields["exception-cause-fqcn"] = _bytes(_name(cause))
    return fields | {
        "exception-message": _bytes(_what_happened(origin)),
        "exception-stacktrace": _bytes(_where_it_happened(origin)),
    }


def _connect(origin: Origin) -> dict[str, str]:
    """``DeadLetterQueueReporter``: text; the connector is the group, its task the slot."""
    return {
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(origin.offset),
        "connector.name": origin.group,
        "task.id": str(origin.slot),
        "stage": "VALUE_CONVERTER" if origin.disposition == "deserialization" else "TASK_PUT",
        "class.name": origin.handler,
        "exception.class.name": _class_of(origin),
        "exception.message": _what_happened(origin),
        "exception.stacktrace": _where_it_happened(origin),
    }


def _audit_id(origin: Origin) -> str:
    return audit_id(origin.group, origin.topic, origin.partition, origin.offset)


def _class_of(origin: Origin) -> str:
    """Return the exception's class; a record that died with its worker has none, and gets its disposition."""
    return f"supervisor.{origin.disposition}" if origin.error is None else _name(origin.error)


def _what_happened(origin: Origin) -> str:
    if origin.error is not None:
        return _message(origin.error)
    code = "" if origin.exit_code is None else f"exit code {origin.exit_code}"
    return ": ".join(part for part in (origin.reason[:MAX_MESSAGE], origin.signal or code) if part)


def _where_it_happened(origin: Origin) -> str:
    return origin.stack[-MAX_STACK:] if origin.error is None else _stack(origin.error)


def _name(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except BaseException:  # noqa: BLE001 - a user's __str__ may raise anything; the letter must be written all the same
        return "(its text could not be had)"


def _stack(error: BaseException) -> str:
    """Return the newest frames: the end of a stack is where it happened."""
    try:
        text = "".join(traceback.format_exception(error, limit=-32))
    except BaseException:  # noqa: BLE001 - formatting calls the user's __str__
        text = "".join(traceback.format_tb(error.__traceback__, limit=-32))
    return text[-MAX_STACK:]


def _newest(lines: tuple[str, ...]) -> str:
    """Return the last lines that fit; a first one that does only in part is cut at its beginning."""
    return "\n".join(lines)[-MAX_LOG:]


def _bytes(value: str) -> bytes:
    return value.encode(errors="replace")


def _is_ours(name: str, profile: Profile) -> bool:
    match profile:
        case Profile.TEXT:
            return name.startswith(PREFIX)
        case Profile.SPRING:
            return name.startswith((PREFIX, SPRING))
        case Profile.CONNECT:
            return name.startswith((PREFIX, CONNECT))
        case _:
            assert_never(profile)


def _is_log(name: str) -> bool:
    return name == PREFIX + "log-lines"


def _is_stack(name: str) -> bool:
    return name.endswith(("stack", "stacktrace"))


def _is_message(name: str) -> bool:
    return name.endswith("message") or name == PREFIX + "reason"


def _is_rest(name: str) -> bool:
    return name != AUDIT_ID and name not in CARRIED


def _is_any(_name: str) -> bool:
    return True
