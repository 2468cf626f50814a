"""Events of this supervisor: told once, logged, remembered for a while, passed on to whoever listens."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from supervisor.control.answers import EventEntry, EventPage
from supervisor.core.event_query import EventQuery, matches
from supervisor.core.events import Event, Scalar, Severity

REMEMBERED = 1000
HEAVY = 16
"""Events whose attachments are remembered; a stack is thousands of times longer than an event."""
LEVELS = {
    Severity.DEBUG: logging.DEBUG,
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.CRITICAL,
}

logger = logging.getLogger("supervisor")


class EventLog:
    """The last ``REMEMBERED`` events, in the parent's memory.

    Every event passes here exactly once (P7). Listeners are called in the loop and must not wait. ``keeper`` is
    called first, with the event's number: it makes events durable.
    """

    def __init__(self) -> None:
        self.keeper: Callable[[EventEntry], None] | None = None
        self._entries: deque[EventEntry] = deque(maxlen=REMEMBERED)
        self._heavy: deque[int] = deque()
        self._count = 0
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with every event from now on."""
        self._listeners.append(listener)

    def tell(  # noqa: PLR0913 - the members of an event
        self,
        name: str,
        severity: Severity,
        text: str = "",
        *,
        group: str = "",
        slot: int | None = None,
        fields: dict[str, Scalar] | None = None,
        attachments: Mapping[str, str] | None = None,
    ) -> None:
        """Say once that something happened."""
        event = Event(
            name,
            severity,
            time.time(),
            group=group,
            slot=slot,
            text=text,
            fields=fields or {},
            attachments=dict(attachments or {}),
        )
        self._count += 1
        entry = EventEntry(self._count, event)
        self._remember(entry)
        if self.keeper is not None:
            self.keeper(entry)
        shown: dict[str, Scalar] = {"text": text} if text else {}
        if group:
            shown |= {"group": group}
        if slot is not None:
            shown |= {"slot": slot}
        logger.log(LEVELS[severity], name, extra={"fields": {**shown, **event.fields}})
        for listener in self._listeners:
            listener(event)

    def go_on_from(self, seq: int) -> None:
        """Go on counting from ``seq``, the last event of an earlier supervisor; what was told before moves up."""
        shift = max(0, seq)
        self._entries = deque(
            (EventEntry(entry.seq + shift, entry.event) for entry in self._entries), maxlen=REMEMBERED
        )
        self._heavy = deque(number + shift for number in self._heavy)
        self._count += shift

    def since(self, seq: int) -> EventPage:
        """Return what came after number ``seq``."""
        entries = tuple(entry for entry in self._entries if entry.seq > seq)
        first = entries[0].seq if entries else self._count + 1
        return EventPage(entries, dropped=max(0, first - 1 - seq), newest=self._count)

    def reaches(self, seq: int) -> bool:
        """Tell whether everything after number ``seq`` is remembered."""
        return seq + 1 >= self._first()

    def page(self, query: EventQuery, *, is_complete: bool = True) -> EventPage:
        """Return what is remembered of what ``query`` wants; ``is_complete``: the journal knows no more."""
        wanted = [one for one in self._entries if one.seq > (query.since or 0) and matches(query, one.event)]
        shown = wanted[-query.limit :] if query.since is None else wanted[: query.limit]
        dropped = 0 if query.since is None else max(0, self._first() - 1 - query.since)
        return EventPage(tuple(shown), dropped=dropped, newest=self._count, is_complete=is_complete)

    def _first(self) -> int:
        return self._entries[0].seq if self._entries else self._count + 1

    def _remember(self, entry: EventEntry) -> None:
        self._entries.append(entry)
        if not entry.event.attachments:
            return
        self._heavy.append(entry.seq)
        if len(self._heavy) > HEAVY:
            place = self._heavy.popleft() - self._first()
            if place >= 0:
                old = self._entries[place]
                self._entries[place] = EventEntry(old.seq, replace(old.event, attachments={}))
