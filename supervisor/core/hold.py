"""One worker's view of its group's dependency breaker, with which it works alone where it must. Pure.

Jitter comes in as ``chance``; times are of the caller's clock.
"""

from dataclasses import dataclass, replace

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BreakerOrder

NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Hold:
    """One worker's view of an open breaker. ``probes``: it is the one that tries; the next time ``probe_at``."""

    name: str
    probes: bool
    failures: int
    probe_at: float


def went_down(hold: Hold | None, name: str, *, backoff: Backoff, now: float, chance: float) -> Hold:
    """Return the hold after a record, or a probe while there is a hold, said that ``name`` is down."""
    failures = 0 if hold is None else hold.failures + 1
    return Hold(name, probes=True, failures=failures, probe_at=now + backoff.delay(failures, chance=chance))


def told(hold: Hold | None, order: BreakerOrder, *, backoff: Backoff, now: float, chance: float) -> Hold | None:
    """Return the hold after an order; a worker that tries already keeps its time, unless it knew of fewer failures."""
    if not order.is_open:
        return None
    if hold is None or not (hold.probes and order.probes):
        return Hold(order.name, order.probes, order.failures, probe_at=now + order.after)
    if order.failures <= hold.failures:
        return replace(hold, name=order.name)
    probe_at = max(hold.probe_at, now + backoff.delay(order.failures, chance=chance))
    return replace(hold, name=order.name, failures=order.failures, probe_at=probe_at)
