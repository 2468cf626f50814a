"""Alerts to the log: the one that needs no setting up."""

import logging

from supervisor.plugin import Event, Severity, hookimpl

_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.CRITICAL}


class LogAlert:
    """Log every event under the logger ``supervisor_plugins.alert_log``, at the level of its severity."""

    def __init__(self) -> None:
        self._log = logging.getLogger(__name__)

    @hookimpl
    def alert(self, event: Event) -> None:
        """Write one line: the event's name, with its fields, and where and what it was."""
        fields = {"group": event.group, "slot": event.slot, "text": event.text, "event_at": event.at, **event.fields}
        shown = {name: value for name, value in fields.items() if value not in ("", None)}
        self._log.log(_LEVELS[event.severity], event.name, extra={"fields": shown})
