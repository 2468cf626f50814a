"""When a worker has used up what it may: replaced in order, or ended at once. Pure; readings and chance come in.

A replacement that does not help must not become a loop: each one in a row for memory makes the next process live
longer before it may be replaced for that, up to an hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar

SHORTEST_LIFE = 10.0
"""Seconds a worker lives before it is replaced for anything: a low limit must not turn into restarts in a row."""
QUICK = 600.0
"""A worker over its soft memory limit within this time (seconds) after a replacement: the replacement did not help."""
FIRST_PATIENCE = 60.0
LONGEST_PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one worker may use: bytes, settled records, seconds; ``None`` is no limit.

    ``rss_soft``, ``max_records`` and ``max_age`` replace a worker, each less by a random part of at most
    ``variance``, so that those which began together do not end together. ``rss_hard`` ends it at once.
    """

    rss_soft: int | None = None
    rss_hard: int | None = None
    max_records: int | None = None
    max_age: float | None = None
    variance: float = 0.1
    shortest_life: float = SHORTEST_LIFE


@dataclass(frozen=True, slots=True)
class Usage:
    """What one worker has used; ``None`` is a reading that could not be taken, and no limit is judged by it."""

    age: float
    rss: int | None = None
    settled: int | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What replacing a slot's workers for memory has brought: how many in a row did not help, and the next wait."""

    in_vain: int = 0
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Worn:
    """The worker should be replaced. ``pressure`` is how far it is over its limit, for who comes first."""

    limit: str
    text: str
    pressure: float
    fields: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TooHeavy:
    """The worker must end at once."""

    text: str
    fields: dict[str, Scalar] = field(default_factory=dict)


def weigh(allowance: Allowance, usage: Usage, history: History, *, chance: float) -> Worn | TooHeavy | None:
    """Compare what a worker has used with what it may (``chance`` in [0, 1) stays the same for all its life)."""
    hard, soft, records, rss = allowance.rss_hard, allowance.rss_soft, allowance.max_records, usage.rss
    if hard is not None and rss is not None and rss >= hard:
        text = f"{_megabytes(rss)} of memory, rss_hard is {_megabytes(hard)}"
        return TooHeavy(text, {"limit": "rss_hard", "rss_bytes": rss, "rss_hard": hard, "age": round(usage.age, 1)})
    if usage.age < allowance.shortest_life:
        return None
    share = 1 - allowance.variance * chance
    if soft is not None and rss is not None and rss >= soft * share and usage.age >= history.patience:
        text = f"{_megabytes(rss)} of memory, rss_soft is {_megabytes(soft)}"
        return _worn("rss_soft", text, rss / soft, usage, rss_bytes=rss, rss_soft=soft)
    if records is not None and usage.settled is not None and usage.settled >= records * share:
        text = f"{usage.settled} records settled, max_records is {records}"
        return _worn("max_records", text, usage.settled / records, usage, settled=usage.settled, max_records=records)
    if allowance.max_age is not None and usage.age >= allowance.max_age * share:
        text = f"{format_duration(usage.age)} old, max_age is {format_duration(allowance.max_age)}"
        return _worn("max_age", text, usage.age / allowance.max_age, usage, max_age=allowance.max_age)
    return None


def remember(history: History, worn: Worn, *, age: float) -> History:
    """Return a slot's history after a worker of ``age`` seconds was replaced because it was ``worn``."""
    if worn.limit != "rss_soft":
        return history
    if not history.patience or age >= max(QUICK, 2 * history.patience):
        return History(in_vain=0, patience=SHORTEST_LIFE)
    wait = min(LONGEST_PATIENCE, max(FIRST_PATIENCE, 2 * history.patience))
    return History(history.in_vain + 1, wait)


def first_of(worn: Sequence[Worn | None], *, is_moving: bool) -> int | None:
    """Return which of a group's workers is replaced now, ``None`` when nobody may.

    One at a time: while another slot of the group ``is_moving``, on its way down or up, all wait.
    """
    if is_moving:
        return None
    pressing = [(one.pressure, -place) for place, one in enumerate(worn) if one is not None]
    return -max(pressing)[1] if pressing else None


def _worn(limit: str, text: str, pressure: float, usage: Usage, **figures: Scalar) -> Worn:
    return Worn(limit, text, pressure, {"limit": limit, **figures, "age": round(usage.age, 1)})


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB"
