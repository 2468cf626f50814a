"""Log to systemd's journal with fields of its own: ``journalctl GROUP=orders SLOT=1``.

Only when this process's stderr is the journal ($JOURNAL_STREAM, systemd.exec(5)). Records go to journald's own socket
in its native protocol (systemd.io, "Native Journal Protocol"), without waiting: a journal that does not keep up costs
lines, which are counted, and never time. Where that socket is not to be had, stderr gets lines with a priority in
front (sd-daemon(3)), so that ``journalctl -p warning`` works all the same.
"""

import logging
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

SOCKET = "/run/systemd/journal/socket"
LONGEST = 48 * 1024
"""Bytes of a message: with its fields it stays below what a datagram takes by default."""
FIELDS = ("group", "slot", "incarnation", "process", "topic", "partition", "offset", "class", "pid")
"""Fields of our log lines that one may look for; all of them stand in the message, too."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_RECORD = re.compile(r"(?P<topic>[^/]+)/(?P<partition>\d+)@(?P<offset>\d+)", re.ASCII)
"""How our lines name a record, in their field ``record``."""
_RENAMED = {"pid": "CHILD_PID"}  # journald has a _PID of who logs


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Tell whether ``descriptor`` goes to the journal: systemd says which stream it made for us."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def journal_handler(formatter: logging.Formatter, identity: Mapping[str, Any]) -> logging.Handler:
    """Return the handler for a process whose stderr is the journal."""
    handler: logging.Handler
    try:
        handler = JournalHandler(identity)
    except OSError:
        handler = logging.StreamHandler()
        formatter = PriorityFormatter(formatter)
    handler.setFormatter(formatter)
    return handler


class JournalHandler(logging.Handler):
    """Sends each record as one datagram. Never blocks; ``dropped`` counts what journald did not take.

    Raises ``OSError`` when nobody listens at ``address``.
    """

    def __init__(self, identity: Mapping[str, Any], address: str = SOCKET) -> None:
        super().__init__()
        self.dropped = 0
        self._identity = dict(identity)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send ``record``; one that cannot be sent is counted, and the next that can says how many were lost."""
        try:
            message = self.format(record)
        except Exception:  # noqa: BLE001 - logging's rule: a record that cannot be formatted raises nowhere
            self.handleError(record)
            return
        if self.dropped:
            message = f"{message} (lines lost before this: {self.dropped})"
        try:
            self._socket.send(b"".join(_entry(record, message, self._identity)))
            self.dropped = 0
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


class PriorityFormatter(logging.Formatter):
    """Put ``<4>`` before every line of another formatter's text."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the text; each line of a traceback would be an entry of the journal's own."""
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).split("\n"))


def _priority(level: int) -> int:
    return next((priority for least, priority in _PRIORITIES if level >= least), 7)


def _entry(record: logging.LogRecord, message: str, identity: Mapping[str, Any]) -> Iterator[bytes]:
    yield _field("MESSAGE", message)
    yield _field("PRIORITY", str(_priority(record.levelno)))
    yield _field("SYSLOG_IDENTIFIER", "supervisor")
    yield _field("EVENT", record.getMessage())
    yield _field("LOGGER", record.name)
    fields = {**identity, **getattr(record, "fields", {})}
    place = _RECORD.fullmatch(str(fields.get("record", "")))
    if place is not None:
        fields = place.groupdict() | fields
    for name in FIELDS:
        if fields.get(name) not in (None, ""):
            yield _field(_RENAMED.get(name, name.upper()), str(fields[name]))


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")[:LONGEST]
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
