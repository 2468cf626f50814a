"""Histograms with fixed buckets: counted where things happen, sent as they are, added up over processes. Pure."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

SECONDS = (
    1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0,
)  # fmt: skip
"""Upper bounds of buckets for times: of a handler that does nothing, and of one that takes minutes."""
WAITS = (1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of buckets for waiting: for brokers, for a loop."""
RECORDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
"""Upper bounds of buckets for numbers of records taken together."""


TRACE_ID = 32
"""Hexadecimal digits of a trace id (W3C Trace Context)."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often values fell into each bucket, the last one above all bounds; and their sum. Empty before the first."""

    counts: tuple[int, ...] = ()
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One value that was counted, the trace it is of, and when (epoch)."""

    value: float
    trace_id: str
    at: float

    @property
    def is_sound(self) -> bool:
        """Whether it can be shown: it comes from a process that runs user code."""
        is_id = len(self.trace_id) == TRACE_ID and all(one in "0123456789abcdef" for one in self.trace_id)
        return is_id and isfinite(self.value) and isfinite(self.at)


def newest(known: Iterable[Exemplar], more: Iterable[Exemplar], bounds: tuple[float, ...]) -> tuple[Exemplar, ...]:
    """Return the last exemplar of each bucket that has one, in the buckets' order; unsound ones are left out."""
    found: dict[int, Exemplar] = {}
    for one in (*known, *more):
        if one.is_sound:
            found[bisect_left(bounds, one.value)] = one
    return tuple(found[bucket] for bucket in sorted(found))


class Tally:
    """A histogram that is being counted; whoever shares it guards it."""

    __slots__ = ("_counts", "_frozen", "bounds", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)
        self._frozen = Histogram()

    def note(self, value: float, times: int = 1) -> None:
        """Count a value, ``times`` over."""
        self._counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def frozen(self) -> Histogram:
        """Return what was counted so far; the same object while nothing is."""
        if self._frozen.total != self.total or sum(self._frozen.counts) != sum(self._counts):
            self._frozen = Histogram(tuple(self._counts), self.total)
        return self._frozen


def added(one: Histogram, other: Histogram) -> Histogram:
    """Return both together; of one shape, or one of them empty."""
    if not one.counts or not other.counts:
        return one if one.counts else other
    counts = tuple(mine + theirs for mine, theirs in zip(one.counts, other.counts, strict=True))
    return Histogram(counts, one.total + other.total)


def grown(before: Histogram, now: Histogram) -> Histogram:
    """Return what came to be since ``before``; all of ``now`` when it cannot be what ``before`` became."""
    if not before.counts or len(before.counts) != len(now.counts):
        return now
    counts = tuple(new - old for new, old in zip(now.counts, before.counts, strict=True))
    return now if min(counts) < 0 else Histogram(counts, max(0.0, now.total - before.total))
