"""A message from a retry topic, as the rest of the worker sees it: with its own headers, and what went before."""

import time
from dataclasses import dataclass
from typing import Any

from supervisor.core.record_headers import headers_of
from supervisor.core.retry_topics import Copy, RetryTopic, own_headers, read_copy
from supervisor.plugin.types import TIMESTAMP_TYPES, Message

NO_TIMESTAMP, CREATE_TIME, LOG_APPEND_TIME = 0, 1, 2
"""The client's numbers for who stamped a message."""


@dataclass(frozen=True, slots=True)
class Later:
    """The record of a retry partition that is not due before ``due`` (monotonic): nothing is read from it until then.

    ``is_sought``: its partition was positioned there anew, so what comes is what is left.
    """

    due: float
    offset: int
    is_sought: bool = False


class Returned:
    """A ``Message`` around the client's own. ``is_ours``: another group may use the same retry topic."""

    __slots__ = (
        "_copy",
        "_headers",
        "_message",
        "attempts",
        "first_failed_at",
        "is_ours",
        "not_before",
        "origin",
        "source",
        "tier",
    )

    def __init__(self, message: Message, topic: RetryTopic, group: str) -> None:
        self._message = message
        headers = tuple(headers_of(message))
        self._copy = copy = read_copy(headers)
        self._headers = own_headers(headers) if copy is not None else headers
        self.tier = topic.tier
        self.source = topic.source
        """Whose retry topics it goes through; of a record that somebody put here by hand, too."""
        self.is_ours = copy is None or copy.group == group
        self.attempts = 0 if copy is None else max(0, copy.attempts)
        self.first_failed_at = None if copy is None else copy.first_failed_at
        self.not_before = 0.0 if copy is None else copy.not_before
        self.origin = _origin(message, copy)

    def wait(self, longest: float) -> float:
        """Return for how many seconds it must wait yet; another host's clock may make it no longer than its tier."""
        return min(longest, self.not_before - time.time())

    def topic(self) -> str | None:
        """See ``Message``."""
        return self._message.topic()

    def partition(self) -> int | None:
        """See ``Message``."""
        return self._message.partition()

    def offset(self) -> int | None:
        """See ``Message``."""
        return self._message.offset()

    def key(self) -> Any:  # noqa: ANN401 - as ``Message``
        """See ``Message``."""
        return self._message.key()

    def value(self) -> Any:  # noqa: ANN401 - as ``Message``
        """See ``Message``."""
        return self._message.value()

    def headers(self) -> Any:  # noqa: ANN401 - as ``Message``
        """Return the record's own headers, without those of the copy."""
        return list(self._headers)

    def timestamp(self) -> tuple[int, int]:
        """See ``Message``: the record's own, not when its copy was written."""
        if self._copy is None:
            return self._message.timestamp()
        seconds = self._copy.timestamp
        if seconds is None:
            return NO_TIMESTAMP, 0
        is_brokers = self._copy.timestamp_type == TIMESTAMP_TYPES[LOG_APPEND_TIME]
        return LOG_APPEND_TIME if is_brokers else CREATE_TIME, round(seconds * 1000)


def _origin(message: Message, copy: Copy | None) -> tuple[str, int, int]:
    if copy is not None:
        return copy.topic, copy.partition, copy.offset
    return message.topic() or "", message.partition() or 0, message.offset() or 0
