"""Accused records as the parent keeps them, and as it tells workers of them. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Place = tuple[str, int]
Record = tuple[str, int, int]
"""Topic, partition, offset."""


class Cause(StrEnum):
    """What a record did to its worker, in the words of a dead letter's disposition."""

    KILLED = "worker-killed"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the last counted death left: its wait status, its stacks and its last log lines."""

    status: int = 0
    stack: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One accused record. ``deaths`` that count; 0 is a mere suspect. Times are seconds since the epoch.

    ``topic_id`` is the topic's own, once a worker has said it: a topic made anew under the same name has another.
    """

    deaths: int = 0
    cause: Cause = Cause.KILLED
    convicted: bool = False
    buried: bool = False
    first_at: float = 0.0
    last_at: float = 0.0
    topic_id: str = ""
    evidence: Evidence = field(default_factory=Evidence)


def runs_of(offsets: Iterable[int]) -> list[list[int]]:
    """Return offsets as ``[first, last]`` of each stretch without a hole: a batch is short to tell."""
    runs: list[list[int]] = []
    for offset in sorted(offsets):
        if runs and runs[-1][1] == offset - 1:
            runs[-1][1] = offset
        else:
            runs.append([offset, offset])
    return runs


def offsets_of(runs: Sequence[Sequence[int]]) -> set[int]:
    """Return the offsets that ``runs_of`` told."""
    return {offset for first, last in runs for offset in range(first, last + 1)}
