"""How far a group has come toward the ends that its partitions had at one moment. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Goal:
    """One partition as it was when a backfill began: its earliest offset, its end, what was committed (-1: nothing)."""

    topic: str
    partition: int
    earliest: int
    end: int
    committed: int

    @property
    def place(self) -> Place:
        """The partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Progress:
    """Offsets passed of those there were to pass, and the partitions that are not done."""

    passed: int
    total: int
    left: tuple[Place, ...]


def progress(goals: Sequence[Goal], committed: Mapping[Place, int]) -> Progress:
    """Return how far ``committed`` is; a partition that held no records is done whatever was committed."""
    passed = total = 0
    left = []
    for goal in goals:
        start = max(goal.earliest, goal.committed)
        if start >= goal.end:
            continue
        now = committed.get(goal.place, -1)
        total += goal.end - start
        passed += min(max(now, start), goal.end) - start
        if now < goal.end:
            left.append(goal.place)
    return Progress(passed, total, tuple(left))
