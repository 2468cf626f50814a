"""How log lines look, in every process: a constant event name, then fields; text for people, JSON for machines."""

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from supervisor.journald import is_journal, journal_handler

OWN = frozenset({"at", "level", "event", "logger", "stack"})
"""Members of a JSON line that are the line's own; a field of such a name gets a ``_`` behind it."""


class EventFormatter(logging.Formatter):
    """Format one record per line as text or JSON; ``identity`` (group, slot, incarnation ...) stands on every line.

    ``stamped=False``: text without time and level, for a journal that has its own. Fields come from
    ``extra={"fields": {...}}``. Callers never put record values or secrets there (P10).
    """

    def __init__(self, style: str, identity: Mapping[str, Any], *, stamped: bool = True) -> None:
        super().__init__()
        self._json = style == "json"
        self._stamped = stamped
        self._identity = dict(identity)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows it in text, and is a member in JSON."""
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        stack = self.formatException(record.exc_info) if record.exc_info else ""
        if self._json:
            line = {
                "at": round(record.created, 3),
                "level": record.levelname.lower(),
                "event": record.getMessage(),
                "logger": record.name,
                **self._identity,
                **{f"{name}_" if name in OWN else name: value for name, value in fields.items()},
            }
            return json.dumps(line | ({"stack": stack} if stack else {}), default=str)
        pairs = [f"{key}={_plain(value)}" for key, value in (*self._identity.items(), *fields.items())]
        text = " ".join([*self._head(record), record.getMessage(), *pairs])
        return f"{text}\n{stack}" if stack else text

    def _head(self, record: logging.LogRecord) -> list[str]:
        if not self._stamped:
            return []
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return [f"{stamp}.{int(record.msecs):03d} {record.levelname:<8}"]


def _plain(value: Any) -> str:  # noqa: ANN401 - a field is whatever the caller logs
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    is_word = text.isprintable() and not _AMBIGUOUS.intersection(text)
    return text if text and is_word else json.dumps(text)


_AMBIGUOUS = frozenset(' "=')


def log_handler(style: str, identity: Mapping[str, Any]) -> logging.Handler:
    """Return the handler of this process's stderr, whatever that is."""
    if is_journal(2, os.environ):
        return journal_handler(EventFormatter(style, identity, stamped=False), identity)
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter(style, identity))
    return handler


def set_up_logging(style: str, level: str, identity: Mapping[str, Any]) -> None:
    """Send every logger of this process to its stderr; under systemd to the journal, with fields to look for."""
    root = logging.getLogger()
    root.handlers[:] = [log_handler(style, identity)]
    if root.level != logging.getLevelNamesMapping()[level.upper()]:
        root.setLevel(level.upper())  # which has every logger forget its own
