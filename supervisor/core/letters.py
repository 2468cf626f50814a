"""The headers of a dead letter: text, ``supervisor.dlq.*``, written behind the record's own."""

import traceback
from dataclasses import dataclass

PREFIX = "supervisor.dlq."
MAX_MESSAGE = 1024
MAX_STACK = 8 * 1024

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a dead letter comes from and why. Times are seconds since the epoch."""

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
    error: BaseException | None


def audit_id(group: str, topic: str, partition: int, offset: int) -> str:
    """Return what every copy of one dead letter carries."""
    return f"{group}/{topic}/{partition}/{offset}"


def dead_letter_headers(own: Headers, origin: Origin) -> Headers:
    """Return the record's own headers followed by ours.

    Ours of an earlier life (a replayed letter that failed again) are replaced, so that the newest failure
    is the only one a reader finds.
    """
    kept = tuple((name, value) for name, value in own if not name.startswith(PREFIX))
    fields = {
        "audit-id": audit_id(origin.group, origin.topic, origin.partition, origin.offset),
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
        kind = type(origin.error)
        fields["exception-type"] = f"{kind.__module__}.{kind.__qualname__}"
        fields["exception-message"] = _text(origin.error)[:MAX_MESSAGE]
        fields["exception-stack"] = _stack(origin.error)
    return kept + tuple((PREFIX + name, value.encode(errors="replace")) for name, value in fields.items())


def without_story(headers: Headers) -> Headers:
    """Return a letter's headers without the long ones of ours, for a topic that refuses it as too large."""
    long = {PREFIX + "exception-message", PREFIX + "exception-stack"}
    return tuple((name, value) for name, value in headers if name not in long)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - a user's __str__ may raise anything; the letter must be written all the same
        return "(its text could not be had)"


def _stack(error: BaseException) -> str:
    """Return the newest frames: the end of a stack is where it happened."""
    try:
        text = "".join(traceback.format_exception(error, limit=-32))
    except BaseException:  # noqa: BLE001 - formatting calls the user's __str__
        text = "".join(traceback.format_tb(error.__traceback__, limit=-32))
    return text[-MAX_STACK:]


def where(error: BaseException) -> str:
    """Return ``file.py:12`` of the innermost frame: a place, and nothing a record could have written (P10)."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"
