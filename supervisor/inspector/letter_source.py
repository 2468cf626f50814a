"""Where dead letters are read from, whatever keeps them: topics, files, tables."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from supervisor.core.dlq import Stored


class SourceError(Exception):
    """The letters cannot be had; the text says why."""


class Source(Protocol):
    """The letters of one place, from a beginning to where it ended when it was opened, each once and in order.

    ``total`` is about how many there are, ``unreadable`` counts what was there and was no letter. ``resumed``: the
    replay had a position here; ``other_meaning``: it was another one's, by its fingerprint.
    """

    total: int
    unreadable: int
    resumed: bool
    other_meaning: str

    def open(self, *, pending: bool, meaning: str, one: str = "") -> None:
        """Fix what is read: from where the replay stands (``pending``) or all, or the letter with the id ``one``."""
        ...

    def read(self, most: int) -> list[Stored]:
        """Return the next letters, at most so many; none: that was all."""
        ...

    def is_again(self, letter: Stored) -> bool:
        """Tell whether an earlier life of this replay may have sent the letter."""
        ...

    def intend(self, letters: Iterable[Stored]) -> None:
        """Note durably that ``letters``, the last that were read, are about to be sent."""
        ...

    def done(self, letters: Iterable[Stored]) -> None:
        """Note durably that the replay has passed ``letters``."""
        ...

    def forget(self) -> None:
        """Count nothing as sent before: the replay begins anew."""
        ...

    def drop(self, upto: Mapping[str, int]) -> None:
        """Delete what lies below a position in each place: of a topic."""
        ...

    def delete(self, place: str, positions: set[int]) -> int:
        """Delete single letters; return how many there were: of a file or a table."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
