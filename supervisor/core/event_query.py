"""Which events somebody asks for, of the journal or of what the parent remembers. Pure."""

from dataclasses import dataclass

from supervisor.core.events import Event, Severity


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events are wanted.

    With ``since`` the first ``limit`` after that number, else the newest ``limit``; in both cases oldest first.
    ``after`` is wall time; ``severity`` the least urgent that counts.
    """

    since: int | None = None
    group: str | None = None
    slot: int | None = None
    after: float | None = None
    severity: Severity = Severity.INFO
    limit: int = 100


def severities(least: Severity) -> tuple[Severity, ...]:
    """Return ``least`` and what is more urgent."""
    return tuple(Severity)[tuple(Severity).index(least) :]


def matches(query: EventQuery, event: Event) -> bool:
    """Tell whether ``event`` is one of those that ``query`` wants; its number and the limit are not looked at."""
    return (
        (query.group is None or query.group == event.group)
        and (query.slot is None or query.slot == event.slot)
        and (query.after is None or query.after <= event.at)
        and event.severity in severities(query.severity)
    )
