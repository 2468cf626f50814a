"""Events: what happened, told once, to logs, alerts, the journal and people."""

from dataclasses import dataclass, field
from enum import StrEnum

Scalar = str | int | float | bool | None


class Severity(StrEnum):
    """How urgently a person should know; ``DEBUG`` is for the journal alone, nobody is told."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    ``name`` is a constant dotted word (``worker.exited``), ``at`` wall time in seconds since the epoch,
    ``group`` and ``slot`` empty or ``None`` where they do not apply. ``fields`` hold scalars only, and
    never a record's value or a secret (P10).
    """

    name: str
    severity: Severity
    at: float
    group: str = ""
    slot: int | None = None
    text: str = ""
    fields: dict[str, Scalar] = field(default_factory=dict)
    attachments: dict[str, str] = field(default_factory=dict)


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


def one_line(text: str, most: int) -> str:
    """Return what user code said as operators are shown it: one line of ``most`` characters, nothing unprintable."""
    return "".join(one for one in " ".join(text[: 4 * most].split()) if one.isprintable())[:most]
