"""The dependency breaker: while what a group needs is away, its workers begin nothing and one of them tries. Pure.

The parent keeps the ``Breaker`` of a whole group on this host, so that one worker tries for all; each worker's own view
of it is ``core.hold``. Times are of the caller's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar, Severity
from supervisor.core.hold import NAME_LENGTH
from supervisor.core.slot import Report
from supervisor.core.spec import BreakerOrder

STEADY = 60.0
"""A breaker that opens again within so many seconds goes on with its longer waits: what came back is not there yet."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of a group; ``since`` is ``None`` while it is closed, and then the rest is of the last time.

    ``prober``: the slot whose part it is to try, ``None`` while no slot could. ``heard_by``: when something must have
    been heard of it, or another one tries. ``idle``: the slots that tried last, as far as they had no record at all.
    """

    since: float | None = None
    name: str = ""
    prober: int | None = None
    failures: int = 0
    probe_at: float = 0.0
    heard_by: float = 0.0
    closed_at: float | None = None
    idle: frozenset[int] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether the group is to begin nothing."""
        return self.since is not None


@dataclass(frozen=True, slots=True)
class Group:
    """The slots of a group: ``all`` that are not at rest, and those ``present`` that could try."""

    all: Sequence[int]
    present: Sequence[int]


Step = tuple[Breaker, tuple[Report, ...]]


def order_for(breaker: Breaker, slot: int, *, now: float) -> BreakerOrder:
    """Return what a slot's worker is to be told."""
    if not breaker.is_open:
        return BreakerOrder()
    probes = slot == breaker.prober
    after = max(0.0, breaker.probe_at - now) if probes else 0.0
    return BreakerOrder(is_open=True, name=breaker.name, probes=probes, failures=breaker.failures, after=after)


def heard_down(  # noqa: PLR0913 - what one frame says, and when
    breaker: Breaker, slot: int, name: str, *, failures: int, after: float, patience: float, now: float
) -> Step:
    """Take it that a worker opened its breaker, or its probe failed; only the first and the prober say what is new."""
    name, probe_at = name[:NAME_LENGTH], now + after
    if breaker.is_open:
        if slot != breaker.prober:
            return replace(breaker, idle=frozenset()), ()
        failures = max(failures, breaker.failures)
        heard_by = probe_at + patience
        return replace(
            breaker, name=name, failures=failures, probe_at=probe_at, heard_by=heard_by, idle=frozenset()
        ), ()
    again = breaker.closed_at is not None and now - breaker.closed_at < STEADY
    failures = max(failures, breaker.failures + 1 if again else 0)
    opened = Breaker(now, name, slot, failures=failures, probe_at=probe_at, heard_by=probe_at + patience)
    text = f"{name} is down: no record is begun until it is back; slot {slot} tries"
    return opened, (Report("breaker.opened", Severity.CRITICAL, text, {"dependency": name, "prober": slot}),)


def heard_up(breaker: Breaker, *, by: str, now: float) -> Step:
    """Have all go on: a probe got through, an operator said so, or no record waits for it. ``by`` says who."""
    if breaker.since is None:
        return breaker, ()
    held = now - breaker.since
    fields: dict[str, Scalar] = {
        "dependency": breaker.name,
        "by": by,
        "seconds": round(held, 3),
        "failed_probes": breaker.failures,
    }
    text = f"{breaker.name} was down for {format_duration(held)}: all workers go on ({by})"
    report = Report("breaker.closed", Severity.WARNING, text, fields)
    return replace(breaker, since=None, prober=None, closed_at=now, idle=frozenset()), (report,)


def heard_nothing(breaker: Breaker, slot: int, group: Group, *, idle: bool, patience: float, now: float) -> Step:
    """Have the next slot try, at once: the prober has no record to try with.

    ``idle``: no record waits there at all. Where that is so in the whole group, one after the other, nothing is held
    back: all go on, and the next record that comes will tell. Else a breaker whose last record was worked, and whose
    worker died before it said so, would be open for good.
    """
    if not breaker.is_open or slot != breaker.prober:
        return breaker, ()
    are_idle = breaker.idle | {slot} if idle else frozenset[int]()
    if are_idle >= set(group.all):
        return heard_up(breaker, by="no record waits for it", now=now)
    handed_on = _hand_on(breaker, group.present, patience=patience, now=now)
    return replace(handed_on, idle=are_idle), ()


def look(breaker: Breaker, group: Group, *, patience: float, now: float) -> Breaker:
    """Have another slot try when the prober is gone, or was not heard of for too long."""
    if not breaker.is_open or (breaker.prober in group.present and now < breaker.heard_by):
        return breaker
    if breaker.prober is None and not group.present:
        return breaker
    return _hand_on(breaker, group.present, patience=patience, now=now)


def words(breaker: Breaker, *, since: str, now: float) -> str:
    """Return the breaker in words, ``since`` as a person reads a time; empty while it is closed."""
    if not breaker.is_open:
        return ""
    left = breaker.probe_at - now
    if breaker.prober is None:
        probe = "nobody can probe yet"
    elif left > 0:
        probe = f"next probe in {format_duration(left)}"
    else:
        probe = f"slot {breaker.prober} probes"
    return f"breaker open: {breaker.name} since {since}, {probe}"


def _hand_on(breaker: Breaker, present: Sequence[int], *, patience: float, now: float) -> Breaker:
    line = sorted(present)
    before = -1 if breaker.prober is None else breaker.prober
    prober = next((slot for slot in line if slot > before), line[0] if line else None)
    probe_at = max(now, breaker.probe_at)
    return replace(breaker, prober=prober, probe_at=probe_at, heard_by=probe_at + patience, idle=frozenset())
