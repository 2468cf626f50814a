"""Which dead letters are meant, and what is sent when they are replayed. Pure."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from supervisor.core.jsonable import to_json
from supervisor.core.letter_view import (
    REPLAY_AGAIN,
    REPLAY_COUNT,
    REPLAY_NAME,
    REPLAY_OF,
    REPLAY_TIMESTAMP,
    STORY_PREFIXES,
    Headers,
    LetterView,
    first_audit_id,
)

PARKED = "{topic}.parked"
"""Where a letter goes that was replayed too often; nobody reads it by himself."""
_ORIGIN = re.compile(
    r"(?P<topic>[^/@]+)(/(?P<partition>[0-9]{1,9})(@(?P<first>[0-9]{1,18})(-(?P<last>[0-9]{1,18}))?)?)?"
)


@dataclass(frozen=True, slots=True)
class Origins:
    """Records as people write them: a topic, one partition of it, or offsets ``first`` to ``last`` of that."""

    topic: str
    partition: int | None = None
    first: int | None = None
    last: int | None = None

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Read ``orders``, ``orders/3``, ``orders/3@812`` or ``orders/3@812-900``; raises ``ValueError``."""
        found = _ORIGIN.fullmatch(text)
        if found is None:
            message = f"{text!r} is no origin: write TOPIC, TOPIC/PARTITION or TOPIC/PARTITION@OFFSET[-OFFSET]"
            raise ValueError(message)
        partition, first, last = (None if found[name] is None else int(found[name]) for name in _NUMBERS)
        return cls(found["topic"], partition, first, first if last is None else last)

    def has(self, view: LetterView) -> bool:
        """Tell whether the letter's record is one of these."""
        if view.topic != self.topic or self.partition not in (None, view.partition):
            return False
        if self.first is None or self.last is None:
            return True
        return view.offset is not None and self.first <= view.offset <= self.last


_NUMBERS = ("partition", "first", "last")


@dataclass(frozen=True, slots=True)
class HeaderTest:
    """A header of that name is there; with ``value`` one that is just that."""

    name: str
    value: str | None = None

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Read ``NAME`` or ``NAME=VALUE``; raises ``ValueError``."""
        name, equals, value = text.partition("=")
        if not name:
            message = f"{text!r} names no header: write NAME or NAME=VALUE"
            raise ValueError(message)
        return cls(name, value if equals else None)

    def has(self, headers: Headers) -> bool:
        """Tell whether ``headers`` pass."""
        wanted = None if self.value is None else _bytes(self.value)
        return any(name == self.name and (wanted is None or value == wanted) for name, value in headers)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant: all tests must pass, of several values of one test any.

    ``since`` and ``until`` are about when it failed, else when the letter was written (seconds since the epoch).
    ``exceptions`` are class names, whole or their last part. ``keys`` are texts; ``hex:6b`` is for what is no text.
    """

    headers: tuple[HeaderTest, ...] = ()
    since: float | None = None
    until: float | None = None
    keys: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    dispositions: tuple[str, ...] = ()
    origins: tuple[Origins, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every letter passes."""
        return self == Filter()

    @property
    def text(self) -> str:
        """The filter on one line, about as its options are written; for people and for events.

        Keys and headers' values are a record's (P10). Which filter it was is told by the name of its replay.
        """
        parts = [f"header={one.name}" + ("" if one.value is None else "=(given)") for one in self.headers]
        parts += [f"since={self.since:.0f}"] if self.since is not None else []
        parts += [f"until={self.until:.0f}"] if self.until is not None else []
        parts += [f"key={len(self.keys)} given"] if self.keys else []
        parts += [f"exception={name}" for name in self.exceptions]
        parts += [f"disposition={name}" for name in self.dispositions]
        parts += [f"origin={_origins_text(one)}" for one in self.origins]
        return " ".join(parts) or "all"

    def has(self, view: LetterView, *, key: bytes | None, headers: Headers, written_at: float | None) -> bool:
        """Tell whether a letter is meant."""
        at = view.failed_at if view.failed_at is not None else written_at
        return (
            all(test.has(headers) for test in self.headers)
            and (self.since is None or (at is not None and at >= self.since))
            and (self.until is None or (at is not None and at < self.until))
            and (not self.keys or key in [_key(text) for text in self.keys])
            and (not self.exceptions or any(_is_class(found, self.exceptions) for found in view.exceptions))
            and (not self.dispositions or view.disposition in self.dispositions)
            and (not self.origins or any(origins.has(view) for origins in self.origins))
        )


def fingerprint(meant: Filter, *, to: str, by_key: bool) -> str:
    """Return what tells one replay's meaning from another's: a replay goes on only as what it was begun."""
    said = json.dumps([to_json(meant), to, by_key], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a letter goes; ``partition`` is ``None`` where its key decides."""

    topic: str
    partition: int | None = None
    is_parking: bool = False


def destination(view: LetterView, *, to: str, by_key: bool, max_replays: int) -> Destination | None:
    """Return where a letter is to be sent, ``None`` when nothing says where it came from and ``to`` is empty.

    Back to its topic it keeps its partition: its key's order is there, whatever partitioner its producer had.
    """
    home = to or view.topic
    if not home:
        return None
    if view.replays >= max_replays:
        return Destination(PARKED.replace("{topic}", view.topic or home), is_parking=True)
    return Destination(home, None if to or by_key else view.partition)


def replay_headers(headers: Headers, view: LetterView, *, name: str, again: bool) -> Headers:
    """Return the record's own headers, and behind them the story of its replay instead of its failure's."""
    own = [(header, value) for header, value in headers if not header.startswith(STORY_PREFIXES)]
    told = {REPLAY_COUNT: str(view.replays + 1), REPLAY_OF: first_audit_id(headers), REPLAY_NAME: name}
    if view.timestamp is not None:
        told[REPLAY_TIMESTAMP] = f"{view.timestamp:.3f}"
    if again:
        told[REPLAY_AGAIN] = "1"
    return (*own, *((header, value.encode()) for header, value in told.items() if value))


def parked_headers(headers: Headers, *, name: str, again: bool) -> Headers:
    """Return all headers of a letter that is parked: its failure's story is why somebody will look at it."""
    kept = [(header, value) for header, value in headers if header not in (REPLAY_NAME, REPLAY_AGAIN)]
    return (*kept, (REPLAY_NAME, name.encode()), *(((REPLAY_AGAIN, b"1"),) if again else ()))


Reason = tuple[str, str]
"""The exception's class and the disposition."""


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many letters there are of one reason."""

    exception: str
    disposition: str
    count: int


def reason(view: LetterView) -> Reason:
    """Return what a histogram counts a letter under."""
    return view.exception, view.disposition


def histogram(counted: Counter[Reason]) -> tuple[ReasonCount, ...]:
    """Return the reasons, the most frequent first."""
    rows = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    return tuple(ReasonCount(*found, count) for found, count in rows)


def _is_class(found: str, wanted: Iterable[str]) -> bool:
    return any(found == name or re.split(r"[.:$]", found)[-1] == name for name in wanted)


def _key(text: str) -> bytes:
    if text.startswith("hex:"):
        try:
            return bytes.fromhex(text.removeprefix("hex:"))
        except ValueError:
            pass
    return _bytes(text)


def _bytes(text: str) -> bytes:
    """Return what a shell was given: bytes that are no UTF-8 come from it as lone surrogates (PEP 383)."""
    return text.encode(errors="surrogateescape")


def _origins_text(one: Origins) -> str:
    text = one.topic if one.partition is None else f"{one.topic}/{one.partition}"
    if one.first is not None:
        text += f"@{one.first}" if one.first == one.last else f"@{one.first}-{one.last}"
    return text
