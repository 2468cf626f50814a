"""Counters that outlive worker processes: what each incarnation counted, added up per slot and per group. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from supervisor.core.histogram import SECONDS, Exemplar, Histogram, added, grown, newest
from supervisor.core.worker_stats import WorkerStats

MOST_NAMES = 30
"""Names told apart in one counter; they come from a process that runs user code."""
OTHER = "other"
_LONGEST = 60

Named = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SlotTotals:
    """All incarnations of one slot since the supervisor began, members as in ``WorkerStats``."""

    received: int = 0
    settled: int = 0
    failed_attempts: int = 0
    retried: int = 0
    dropped: int = 0
    copied: int = 0
    duplicates: int = 0
    commits: int = 0
    pauses: int = 0
    letters: Named = field(default_factory=dict)
    commit_errors: Named = field(default_factory=dict)
    rebalances: Named = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """All workers of one group since the supervisor began, those of slots that are no more included."""

    handled: Histogram = field(default_factory=Histogram)
    polled: Histogram = field(default_factory=Histogram)
    batches: Histogram = field(default_factory=Histogram)
    committing: Histogram = field(default_factory=Histogram)
    exemplars: tuple[Exemplar, ...] = ()


def slot_totals(totals: SlotTotals, before: WorkerStats, now: WorkerStats) -> SlotTotals:
    """Return the totals after an incarnation's count went from ``before`` to ``now``."""
    return SlotTotals(
        received=totals.received + _growth(before.received, now.received),
        settled=totals.settled + _growth(before.settled, now.settled),
        failed_attempts=totals.failed_attempts + _growth(before.failed_attempts, now.failed_attempts),
        retried=totals.retried + _growth(before.retried, now.retried),
        dropped=totals.dropped + _growth(before.dropped, now.dropped),
        copied=totals.copied + _growth(before.copied, now.copied),
        duplicates=totals.duplicates + _growth(before.duplicates, now.duplicates),
        commits=totals.commits + _growth(before.commits, now.commits),
        pauses=totals.pauses + _growth(before.pauses, now.pauses),
        letters=totals.letters,
        commit_errors=_by_name(totals.commit_errors, before.commit_errors, now.commit_errors),
        rebalances=_by_name(totals.rebalances, before.rebalances, now.rebalances),
    )


def with_letter(totals: SlotTotals, disposition: str) -> SlotTotals:
    """Return the totals with one more dead letter.

    Letters are counted by their events, not by workers' counts: who is about to be killed writes many, and does not
    live to tell.
    """
    known = _name(disposition, totals.letters)
    return replace(totals, letters={**totals.letters, known: totals.letters.get(known, 0) + 1})


def group_totals(totals: GroupTotals, before: WorkerStats, now: WorkerStats) -> GroupTotals:
    """Return the totals after one worker's histograms went from ``before`` to ``now``."""
    news = {name: grown(getattr(before, name), getattr(now, name)) for name in _GROUP}
    exemplars = newest(totals.exemplars, now.exemplars, SECONDS)
    return GroupTotals(**{name: added(getattr(totals, name), new) for name, new in news.items()}, exemplars=exemplars)


_GROUP = ("handled", "polled", "batches", "committing")


def _by_name(total: Named, before: Named, now: Named) -> Named:
    if before == now:
        return total
    sums = dict(total)
    for name, count in now.items():
        known = _name(name, sums)
        sums[known] = sums.get(known, 0) + _growth(before.get(name, 0), count)
    return sums


def _growth(before: int, now: int) -> int:
    """Return what was counted between; a count that went down began anew."""
    return now - before if now >= before else max(0, now)


def _name(name: str, known: Named) -> str:
    if name in known:
        return name
    is_word = len(name) <= _LONGEST and name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if is_word and len(known) < MOST_NAMES else OTHER
