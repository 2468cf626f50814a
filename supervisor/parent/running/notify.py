"""Tell the service manager how we are: sd_notify(3) in plain datagrams. Nothing here blocks or raises."""

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Self

PULSE = 1.0
"""About how often ``watchdog`` is called, in seconds."""

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

logger = logging.getLogger(__name__)


class ServiceManager:
    """systemd, when it started us with ``Type=notify``; else nobody, and every call does nothing.

    ``watchdog`` is the time in seconds after which systemd takes silence for a fault (sd_watchdog_enabled(3)).
    """

    def __init__(self, address: str = "", *, watchdog: float | None = None) -> None:
        self.watchdog_period = watchdog if address else None
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._unsent: list[str] = []
        self._fed_at: float | None = None
        self._complained = False
        if address and address[0] not in "/@":
            self._complain(f"NOTIFY_SOCKET is no local socket: {address[:100]}")
        elif address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # noqa: FBT003 - the standard library's signature

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self:
        """Read what systemd says and take it out of ``environ``: no child of ours may speak in our name."""
        address, period, pid = (environ.pop(name, "") for name in _VARIABLES)
        is_ours = not pid or pid == str(os.getpid())
        watchdog = int(period) / 1e6 if is_ours and period.isdecimal() and int(period) else None
        return cls(address, watchdog=watchdog)

    @property
    def is_there(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """Say that the start, or the reload, is complete."""
        self._send_surely("READY=1" + (f"\nSTATUS={status}" if status else ""))

    def reloading(self) -> None:
        """Say that a reload begins; ``ready`` ends it, however it went."""
        self._send_surely(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that we are on the way out, whoever asked."""
        self._send_surely("STOPPING=1")

    def status(self, text: str) -> None:
        """Show ``text`` in ``systemctl status``."""
        self._send(f"STATUS={' '.join(text.split())}")

    def extend(self, seconds: float) -> None:
        """Ask for at least ``seconds`` from now before a start or stop counts as failed."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def watchdog(self, *, now: float) -> None:
        """Feed the watchdog if the next call, ``PULSE`` later, would be after half its period (``now``: monotonic)."""
        if self.watchdog_period is None:
            return
        if self._fed_at is None or now + PULSE - self._fed_at > self.watchdog_period / 2:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def flush(self) -> None:
        """Send again what the manager's full queue did not take; the rest of us calls this with every pulse."""
        waiting, self._unsent = self._unsent, []
        for text in waiting:
            self._send_surely(text)

    def _send_surely(self, text: str) -> None:
        if not self._send(text) and len(self._unsent) < 8:  # noqa: PLR2004 - start, a few reloads, stop
            self._unsent.append(text)

    def _send(self, text: str) -> bool:
        """Send one datagram; ``False``: not now, the queue is full."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto(text.encode(), self._address)
        except BlockingIOError:
            return False
        except OSError as error:
            self._complain(f"cannot notify the service manager: {error}")
        return True

    def _complain(self, text: str) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("parent.notify_failed", extra={"fields": {"text": text}})
