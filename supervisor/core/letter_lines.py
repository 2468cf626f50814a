"""A dead letter as a line of JSON: what the plugin ``dlq_file`` writes, and ``supervisor dlq export``. Pure."""

import binascii
import json
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

from supervisor.core.dlq import Stored, stored
from supervisor.core.letter_view import Headers, moment, within

FORMAT = 1
NO_LETTER = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError, binascii.Error)
"""What reading a line raises that holds no letter: torn, foreign, or made to break who reads it."""


def line_of(letter: Stored) -> bytes:
    """Return the line of a letter, without its end."""
    view = letter.view
    return json.dumps(
        {
            "v": FORMAT,
            "audit_id": view.audit_id,
            "topic": letter.topic,
            "key": _text(letter.key),
            "value": _text(letter.value),
            "headers": [[name, _text(value)] for name, value in letter.headers],
            "source": {"topic": view.topic, "partition": view.partition, "offset": view.offset},
            "disposition": view.disposition,
            "timestamp": view.timestamp,
            "written_at": letter.written_at,
        },
        separators=(",", ":"),
    ).encode()


def letter_of(line: bytes, *, place: str, position: int, after: int) -> Stored | None:
    """Return the letter that a line holds, ``None`` when it holds none: torn by a crash, or of another version."""
    try:
        found: Any = json.loads(line)
        if found["v"] != FORMAT:
            return None
        source = found.get("source") or {}
        letter = stored(
            place,
            position,
            after,
            topic=str(found["topic"]),
            partition=partition_of(source.get("partition")),
            key=_bytes(found["key"]),
            value=_bytes(found["value"]),
            headers=headers_of(found["headers"]),
            written_at=seconds_of(found.get("written_at")),
        )
        return letter if letter.view.topic or not source.get("topic") else with_source(letter, found)
    except NO_LETTER:
        return None


def with_source(letter: Stored, found: dict[str, Any]) -> Stored:
    """Return a letter whose headers tell no story, with what its line says beside them."""
    source = found["source"]
    told = replace(
        letter.view,
        audit_id=str(found.get("audit_id") or ""),
        topic=str(source["topic"]),
        partition=letter.partition,
        offset=number_of(source.get("offset"), below=1 << 63),
        timestamp=seconds_of(found.get("timestamp")),
        disposition=str(found.get("disposition") or ""),
    )
    return replace(letter, view=told)


def partition_of(value: Any) -> int | None:  # noqa: ANN401 - JSON
    """Return a partition's number; what can be none counts as not there."""
    return number_of(value, below=1 << 31)


def number_of(value: Any, *, below: int) -> int | None:  # noqa: ANN401 - JSON
    """Return a number from 0 on; what is none, or too large, counts as not there."""
    return None if value is None else within(below, int(value))


def seconds_of(value: Any) -> float | None:  # noqa: ANN401 - JSON
    """Return a time; one that no clock shows counts as not there."""
    return None if value is None else moment(float(value))


def headers_of(pairs: Any) -> Headers:  # noqa: ANN401 - JSON
    """Return headers from ``[[name, base64 or null], ...]``."""
    return tuple((str(name), _bytes(value)) for name, value in pairs)


def _text(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode("ascii")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)
