"""One lane: the records that keep their order among themselves, and where it is. Values only."""

from collections import deque
from collections.abc import Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

T = TypeVar("T")
Place = tuple[str, int]


class LaneState(Enum):
    """Where a lane is. ``READY`` lanes are in line, ``BUSY`` ones belong to a thread."""

    READY = auto()
    BUSY = auto()
    WAITING = auto()
    BLOCKED = auto()


READY, BUSY, WAITING, BLOCKED = LaneState
"""By themselves: to look a member up in its class costs 0.1 us in Python 3.11, several times per record."""


class Lane(Generic[T]):
    """One lane. ``attempt``, ``failed_at`` and ``letter`` are of its head record; ``due`` counts while ``WAITING``.

    ``taken`` is how many records its thread has in hand: one, or a batch. ``solo`` is how many at its front
    failed in a batch and are to be worked one by one. ``since`` is when the head came (for the age of a batch).
    ``before`` is how often its records were tried before they came here, ``failed_before`` since when.
    """

    __slots__ = (
        "attempt",
        "before",
        "due",
        "failed_at",
        "failed_before",
        "items",
        "letter",
        "name",
        "place",
        "since",
        "solo",
        "state",
        "taken",
    )

    def __init__(self, name: Hashable, place: Place) -> None:
        self.name = name
        self.place = place
        self.items: deque[tuple[T, int]] = deque()
        self.state = READY
        self.due = 0.0
        self.taken = 1
        self.solo = 0
        self.since: float | None = None
        self.attempt = 1
        self.failed_at: float | None = None
        self.before = 0
        self.failed_before: float | None = None
        self.letter: object | None = None

    @property
    def filling(self) -> bool:
        """Whether it waits for more records to make a batch, and for nothing else."""
        return self.state is WAITING and self.failed_at is None and not self.solo

    @property
    def head(self) -> T:
        """The record to work next."""
        return self.items[0][0]

    def fresh_head(self) -> None:
        """Forget what was known of the last head."""
        self.attempt = self.before + (2 if self.solo else 1)
        self.failed_at = self.failed_before
        self.letter = None

    def count_on(self, attempts: int, since: float | None) -> None:
        """Have its records count on from earlier attempts, which failed ``since`` (epoch).

        It is the lane of one record alone. That may be in it more than once: where it was delivered again while an
        earlier ownership's is still in hand.
        """
        self.before, self.failed_before = attempts, since
        if len(self.items) == 1:
            self.fresh_head()
