"""How the parent logs: as all processes do, and in short lines on a terminal."""

import logging
import sys
import time
from typing import TextIO

from supervisor.logs import EventFormatter, log_handler

_OWN = ("text", "group", "slot")


def set_up(log_format: str, level: str, *, stream: TextIO | None = None) -> None:
    """Send the log records of this process to ``stream`` (stderr by default), once, in the given format."""
    root, identity = logging.getLogger(), {"process": "supervisor"}
    if stream is None and not sys.stderr.isatty():
        handler = log_handler(log_format, identity)
    else:
        stream = stream or sys.stderr
        handler = logging.StreamHandler(stream)
        is_terminal = log_format == "text" and stream.isatty()
        handler.setFormatter(TerminalFormatter() if is_terminal else EventFormatter(log_format, identity))
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class TerminalFormatter(logging.Formatter):
    """``time group/slot event text key=value``, for somebody who watches."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, however many lines its text has; a traceback follows."""
        fields = getattr(record, "fields", {})
        where = f"{fields['group']}/{fields.get('slot', '-')}" if "group" in fields else ""
        head = [time.strftime("%H:%M:%S", time.localtime(record.created)), f"{where:<12}", record.getMessage()]
        rest = [str(fields["text"])] if fields.get("text") else []
        rest += [f"{key}={value}" for key, value in fields.items() if key not in _OWN and value not in (None, "")]
        line = " ".join([*head, *rest]).replace("\n", "\\n").replace("\r", "\\r")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
