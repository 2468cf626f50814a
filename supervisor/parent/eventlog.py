"""Events of this supervisor: told once, logged, remembered for a while, passed on to whoever listens."""

import logging
import time
from collections import deque
from collections.abc import Callable

from supervisor.control.answers import EventEntry, EventPage
from supervisor.core.events import Event, Scalar, Severity

REMEMBERED = 1000
LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.CRITICAL}

logger = logging.getLogger("supervisor")


class EventLog:
    """The last ``REMEMBERED`` events, in the parent's memory.

    Every event passes here exactly once (P7). Listeners are called in the loop and must not wait.
    """

    def __init__(self) -> None:
        self._entries: deque[EventEntry] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with every event from now on."""
        self._listeners.append(listener)

    def tell(
        self,
        name: str,
        severity: Severity,
        text: str = "",
        *,
        group: str = "",
        slot: int | None = None,
        fields: dict[str, Scalar] | None = None,
    ) -> None:
        """Say once that something happened."""
        event = Event(name, severity, time.time(), group=group, slot=slot, text=text, fields=fields or {})
        self._count += 1
        self._entries.append(EventEntry(self._count, event))
        shown: dict[str, Scalar] = {"text": text} if text else {}
        if group:
            shown |= {"group": group}
        if slot is not None:
            shown |= {"slot": slot}
        logger.log(LEVELS[severity], name, extra={"fields": {**shown, **event.fields}})
        for listener in self._listeners:
            listener(event)

    def since(self, seq: int) -> EventPage:
        """Return what came after number ``seq``."""
        entries = tuple(entry for entry in self._entries if entry.seq > seq)
        first = entries[0].seq if entries else self._count + 1
        return EventPage(entries, dropped=max(0, first - 1 - seq))
