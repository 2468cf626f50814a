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


def one_line(text: str, most: int) -> str:
    """Return what user code said as operators are shown it: one line of ``most`` characters, nothing unprintable."""
    return "".join(one for one in " ".join(text[: 4 * most].split()) if one.isprintable())[:most]
