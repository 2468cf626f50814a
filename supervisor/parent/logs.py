"""How the parent logs: to stderr, as lines for people or as JSON objects."""

import json
import logging
import sys
import time
from typing import TextIO

_OWN = ("text", "group", "slot")


def set_up(log_format: str, level: str, *, stream: TextIO | None = None) -> None:
    """Send the package's log records to ``stream`` (stderr by default), once, in the given format.

    On a terminal the lines are short; elsewhere they carry date, level and all fields.
    """
    stream = stream or sys.stderr
    formatter = JsonFormatter() if log_format == "json" else TextFormatter(short=stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    package = logging.getLogger("supervisor")
    package.handlers[:] = [handler]
    package.setLevel(level.upper())
    package.propagate = False


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return dict(fields) if isinstance(fields, dict) else {}


def _moment(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``at``, ``level``, ``event``, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, object] = {
            "at": _moment(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "process": "supervisor",
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """``moment level event group/slot text key=value``; ``short`` shows the time of day only."""

    def __init__(self, *, short: bool) -> None:
        super().__init__()
        self._short = short

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, however many lines its text has."""
        fields = _fields(record)
        where = "" if "group" not in fields else f"{fields['group']}/{fields.get('slot', '-')}"
        if self._short:
            head = [time.strftime("%H:%M:%S", time.localtime(record.created)), f"{where:<12}", record.getMessage()]
        else:
            head = [_moment(record), record.levelname.lower(), record.getMessage()]
            head += [where] if where else []
        rest = [str(fields["text"])] if fields.get("text") else []
        rest += [f"{key}={value}" for key, value in fields.items() if key not in _OWN and value not in (None, "")]
        line = " ".join([*head, *rest]).replace("\n", "\\n").replace("\r", "\\r")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
