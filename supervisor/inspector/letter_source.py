"""Where dead letters are read from, whatever keeps them: topics, files, tables."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from supervisor.core.dlq import Stored

MOST_BYTES = 16 << 20
"""Of letters that are read at once; the last one may be over it."""


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

    def close(self) -> None:
        """Let go of it."""
        ...


class LogSource(Source, Protocol):
    """Letters in logs, which lose their beginnings only: topics."""

    @property
    def passed(self) -> Mapping[str, int]:
        """The first position of each place that is not read from its beginning."""
        ...

    def truncate(self, upto: Mapping[str, int]) -> None:
        """Delete what lies below a position in each place."""
        ...


class SingleSource(Source, Protocol):
    """Letters that can be deleted one by one: those of files and tables."""

    def delete(self, place: str, positions: set[int]) -> int:
        """Delete letters; return how many there were."""
        ...
