"""What all alert plugins say of an event, and which events they are for."""

from dataclasses import dataclass, field

from supervisor.plugin import Event, Severity

_ORDER = tuple(Severity)
MOST_LINES = 30
"""Lines of a stack or log that go into a message for people; the journal has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Options of every alert plugin. ``severity``: the least urgent event that is told; ``groups`` (empty: all): whose.

    Who adds options with rules of their own calls ``__post_init__`` of this class by its name: there is no ``super()``
    in a dataclass with slots.
    """

    severity: str = "warning"
    groups: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a severity that does not exist."""
        if self.severity not in {"warning", "critical"}:
            message = 'severity must be "warning" or "critical"'
            raise ValueError(message)

    def wants(self, event: Event) -> bool:
        """Tell whether the event is for these people; the end of a condition is for whom its beginning was."""
        severity = Severity(str(event.fields["severity"])) if is_resolved(event) else event.severity
        is_urgent = _ORDER.index(severity) >= _ORDER.index(Severity(self.severity))
        return is_urgent and (not self.groups or not event.group or event.group in self.groups)


def is_resolved(event: Event) -> bool:
    """Tell whether the event says that a condition is over."""
    return event.name == "alert.resolved"


def is_condition(event: Event) -> bool:
    """Tell whether the event is the beginning or the end of a condition; others are moments, whose end nobody tells."""
    return event.name in {"alert.firing", "alert.resolved"}


def where(event: Event) -> str:
    """Return ``orders/2``, ``orders``, or nothing when the event is the supervisor's own."""
    return event.group if event.slot is None else f"{event.group}/{event.slot}"


def title(event: Event) -> str:
    """Return one line: how urgent, which supervisor, where, what."""
    mark = "RESOLVED" if is_resolved(event) else event.severity.value.upper()
    return " ".join(part for part in (f"[{mark}]", _supervisor(event), where(event), event.text or event.name) if part)


def details(event: Event) -> list[tuple[str, str]]:
    """Return the event's name and fields as text, in their order."""
    shown = [(name, str(value)) for name, value in event.fields.items() if value not in ("", None)]
    return [("event", event.name), *shown]


def evidence(event: Event) -> list[tuple[str, str]]:
    """Return what a dead worker left (its stack, its last log lines), each cut to its last lines."""
    return [(name, "\n".join(text.splitlines()[-MOST_LINES:])) for name, text in event.attachments.items() if text]


def key_of(event: Event) -> str:
    """Return what is the same for the beginning and the end of a condition, and for the same event again.

    It begins with the supervisor's name, which differs from host to host: one must not end another's incident.
    """
    slot = "-" if event.slot is None else str(event.slot)
    return "/".join((_supervisor(event) or "-", str(event.fields.get("alert", event.name)), event.group or "-", slot))


def _supervisor(event: Event) -> str:
    return str(event.fields.get("supervisor", ""))
