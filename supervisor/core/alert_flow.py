"""From events to notifications: who is told at once, what is told together, what is not told again. Pure.

People who are paged for each of a hundred deaths stop reading. So events of one name and group make a *line*: the
first is told at once when it is critical, else after ``group_wait``; what follows is counted and told together, at most
once per ``repeat``, sooner when another slot is concerned or it became more urgent. ``rate`` bounds all lines together.

A condition (``alert.firing``, ``alert.resolved``) is a line, too: of all slots of a group together, or an outage would
page once per worker. Its beginning and its end are told whatever the rate, for they open and close an incident; that
more slots are concerned is told as any news. It is over when it is over for all of them.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from supervisor.core.conditions import Kind
from supervisor.core.durations import format_duration
from supervisor.core.events import Event, Severity

FIRING = "alert.firing"
RESOLVED = "alert.resolved"
AS_CONDITIONS = {
    "breaker.opened": Kind.DEPENDENCY_DOWN,
    "breaker.closed": Kind.DEPENDENCY_DOWN,
    "flood.tripped": Kind.FLOOD,
    "flood.resumed": Kind.FLOOD,
}
"""Beginnings and ends of what is a condition, too, by which people are told: its end is for whom its beginning was."""
NAMED_SLOTS = 10
MOST_LINES = 1000
"""Lines that are remembered; a line is an event's name and a group, so that is never reached in earnest."""
MINUTE = 60.0

LineKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class FlowRules:
    """``group_wait`` and ``repeat`` in seconds; ``rate``: notifications per minute."""

    group_wait: float
    repeat: float
    rate: int


@dataclass(frozen=True, slots=True)
class Silence:
    """What people do not want to be told until ``until`` (epoch): an event's or a condition's name, or a pattern.

    ``group`` empty: of all; ``slot`` ``None``: of all.
    """

    number: int
    name: str
    until: float
    group: str = ""
    slot: int | None = None
    reason: str = ""
    by: str = ""

    def covers(self, event: Event, *, at: float) -> bool:
        """Tell whether ``event`` is not to be told at the wall time ``at``."""
        condition = event.fields.get("alert")
        return (
            at < self.until
            and any(fnmatchcase(str(name), self.name) for name in (event.name, condition) if name)
            and self.group in {"", event.group}
            and self.slot in {None, event.slot}
        )


@dataclass(slots=True)
class _Line:
    """Events of one kind: what waits to be told (``newest`` of ``count``), and what was.

    ``firing``: of a condition, the slots it is true for.
    """

    newest: Event | None = None
    count: int = 0
    since: float = 0.0
    slots: list[int] = field(default_factory=list)
    due: float = 0.0
    told_at: float | None = None
    told_slots: set[int | None] = field(default_factory=set)
    told_severity: Severity = Severity.DEBUG
    firing: set[int | None] = field(default_factory=set)


class Flow:
    """Takes every event and gives out what people are to be told. ``now`` is monotonic, ``at`` wall time."""

    def __init__(self, rules: FlowRules) -> None:
        self.rules = rules
        self.silences: tuple[Silence, ...] = ()
        self.silenced = 0
        """Events that nobody was told of because somebody wanted it so."""
        self._lines: dict[LineKey, _Line] = {}
        self._sent: deque[float] = deque()
        self._held_back: Counter[str] = Counter()
        self._held_severity = Severity.DEBUG

    def take(self, event: Event, *, now: float, at: float) -> list[Event]:
        """Return what is to be told at once: this event, or nothing yet; a condition is told by the next ``due``."""
        if event.severity in {Severity.DEBUG, Severity.INFO} and event.name != RESOLVED:
            return []
        if event.name in AS_CONDITIONS:
            return []
        if event.name == FIRING:
            self._begins(event, now=now)
            return []
        if event.name == RESOLVED:
            return self._ends(event)
        if self._is_silenced(event, at=at):
            self.silenced += 1
            return []
        line = self._line(_key(event), now=now)
        self._add(line, event, now=now)
        return self._tell(line, now=now) if line.due <= now else []

    def told(self, condition: str, group: str, slot: int | None) -> bool:
        """Whether people were told that a condition began, and not yet that it is over."""
        line = self._lines.get((FIRING, group, condition))
        return line is not None and line.told_at is not None and slot in line.told_slots

    def restore(self, condition: str, group: str, slot: int | None, *, now: float) -> None:
        """Take it that people were told of a condition, by an earlier supervisor."""
        line = self._line((FIRING, group, condition), now=now)
        line.told_at = now
        line.firing.add(slot)
        line.told_slots.add(slot)

    def due(self, *, now: float, at: float) -> list[Event]:
        """Return what waited long enough; to be called about once a second."""
        told: list[Event] = []
        for key, line in tuple(self._lines.items()):
            if line.newest is None:
                if line.told_at is not None and now - line.told_at >= self.rules.repeat and key[0] != FIRING:
                    del self._lines[key]
            elif line.due <= now and self._is_all_silenced(line, at=at):
                self._hush(line)
            elif line.due <= now:
                told += self._tell(line, now=now)
        return told + self._made_up(now=now, at=at)

    def rest(self, *, now: float, at: float) -> list[Event]:
        """Return all that waits; for a supervisor that ends."""
        waiting = [line for line in self._lines.values() if line.newest is not None]
        return [
            told
            for line in waiting
            if line.newest is not None and not self._is_all_silenced(line, at=at)
            for told in self._tell(line, now=now)
        ]

    def _begins(self, event: Event, *, now: float) -> None:
        """Have it told that a condition is true for one more slot: at once if nobody was told of it yet."""
        line = self._line((FIRING, event.group, str(event.fields.get("alert"))), now=now)
        line.firing.add(event.slot)
        self._add(line, event, now=now)
        if line.told_at is None:
            line.due = now

    def _ends(self, event: Event) -> list[Event]:
        """Tell that a condition is over for every slot; of one that nobody was told of, its end is no news either."""
        key = (FIRING, event.group, str(event.fields.get("alert")))
        line = self._lines.get(key)
        if line is None:
            return []
        line.firing.discard(event.slot)
        if event.slot in line.slots:
            line.slots.remove(event.slot)
        if line.firing:
            if not line.slots:
                line.newest, line.count = None, 0
            return []
        del self._lines[key]
        return [replace(event, slot=None)] if line.told_at is not None else []

    def _is_silenced(self, event: Event, *, at: float) -> bool:
        return any(one.covers(event, at=at) for one in self.silences)

    def _is_all_silenced(self, line: _Line, *, at: float) -> bool:
        """Tell whether what waits is not to be told of any of its slots; a silence of one is not of the others."""
        newest = line.newest
        slots: list[int | None] = [*line.slots] or [None]
        return newest is not None and all(self._is_silenced(replace(newest, slot=slot), at=at) for slot in slots)

    def _hush(self, line: _Line) -> None:
        """Forget what waits in a line that was silenced meanwhile; a condition stays, it may outlive the silence."""
        if line.newest is not None and line.newest.name != FIRING:
            self.silenced += line.count
            line.newest, line.count, line.slots = None, 0, []
            line.told_at = -self.rules.repeat if line.told_at is None else line.told_at

    def _line(self, key: LineKey, *, now: float) -> _Line:
        line = self._lines.get(key)
        if line is None:
            while len(self._lines) >= MOST_LINES:
                del self._lines[next(iter(self._lines))]
            line = self._lines[key] = _Line(since=now)
        return line

    def _add(self, line: _Line, event: Event, *, now: float) -> None:
        """Put an event behind those that wait in its line, and say when they are due."""
        if line.newest is None:
            line.since = now
            line.due = now + self.rules.group_wait
            if line.told_at is not None:
                line.due = max(line.due, line.told_at + self.rules.repeat)
        if event.slot is not None and event.slot not in line.slots:
            line.slots.append(event.slot)
        if event.slot not in line.told_slots:
            line.due = min(line.due, now + self.rules.group_wait)
        order = tuple(Severity).index
        if event.severity is Severity.CRITICAL and order(event.severity) > order(line.told_severity):
            line.due = now
        line.newest = event
        line.count += 1

    def _tell(self, line: _Line, *, now: float) -> list[Event]:
        event = line.newest
        assert event is not None  # noqa: S101 - only lines in which something waits come here
        is_first = line.told_at is None
        is_beginning = is_first and event.name == FIRING
        together = _of_slots(event, line) if event.name == FIRING else _together(event, line, now=now)
        line.told_at, line.newest, line.count = now, None, 0
        line.told_slots |= {event.slot, *line.slots}
        line.slots = []
        line.told_severity = (
            event.severity if is_first else max((line.told_severity, event.severity), key=tuple(Severity).index)
        )
        return [together] if is_beginning else self._within_rate(together, now=now)

    def _within_rate(self, event: Event, *, now: float) -> list[Event]:
        while self._sent and self._sent[0] <= now - MINUTE:
            self._sent.popleft()
        if len(self._sent) < self.rules.rate:
            self._sent.append(now)
            return [event]
        self._held_back[event.name] += 1
        self._held_severity = max((self._held_severity, event.severity), key=tuple(Severity).index)
        return []

    def _made_up(self, *, now: float, at: float) -> list[Event]:
        """Say in one notification what the rate kept back, once there is room again."""
        if not self._held_back:
            return []
        counts = ", ".join(f"{name} ({count})" for name, count in self._held_back.most_common())
        held, severity = sum(self._held_back.values()), self._held_severity
        text = f"{held} notifications were held back by alerting.rate: {counts}; see: supervisor events"
        event = Event("alerts.held_back", severity, at, text=text, fields={"count": held})
        is_silenced = self._is_silenced(event, at=at)
        told = [] if is_silenced else self._within_rate(event, now=now)
        self.silenced += held if is_silenced else 0
        if told or is_silenced:
            self._held_back.clear()
            self._held_severity = Severity.DEBUG
        else:
            self._held_back.subtract(["alerts.held_back"])
            self._held_back += Counter()
        return told


def _key(event: Event) -> LineKey:
    return event.name, event.group, str(event.fields.get("class", ""))


def _together(event: Event, line: _Line, *, now: float) -> Event:
    """Return the newest event of a line, with how many there were."""
    if line.count == 1:
        return event
    fields = {**event.fields, "count": line.count}
    slots = sorted(line.slots)
    if len(slots) > 1:
        fields["slots"] = ", ".join(map(str, slots))
    text = f"{line.count} times within {format_duration(max(1.0, round(now - line.since)))}; the last: {event.text}"
    return replace(event, fields=fields, slot=event.slot if len(slots) <= 1 else None, text=text)


def _of_slots(event: Event, line: _Line) -> Event:
    """Return a condition with all slots for which it is true; the same group and no slot each time, as its end."""
    slots = sorted(slot for slot in line.firing if slot is not None)
    if not slots:
        return event
    more = f" and {len(slots) - NAMED_SLOTS} more" if len(slots) > NAMED_SLOTS else ""
    named = ", ".join(map(str, slots[:NAMED_SLOTS])) + more
    words = f"slot {named}" if len(slots) == 1 else f"{len(slots)} slots: {named}"
    fields = {**event.fields, "slots": named} | ({"count": len(slots)} if len(slots) > 1 else {})
    return replace(event, slot=None, text=f"{event.text} ({words})", fields=fields)


def without_ended(silences: Iterable[Silence], *, at: float) -> tuple[Silence, ...]:
    """Return the silences that still hold."""
    return tuple(one for one in silences if at < one.until)
