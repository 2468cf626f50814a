"""No descriptor left for who asks over the control socket: told once, not with a traceback for each try."""

import asyncio
import errno
import resource
from typing import Any

from supervisor.core.events import Severity
from supervisor.parent.store.eventlog import EventLog

SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
QUIET = 5.0
"""Seconds without a failure after which it is over. asyncio tries about every second while somebody waits."""


class Accepting:
    """Handles what the loop could not do about new connections; everything else keeps its traceback.

    ``pulse`` is called about once a second. Lack that comes and goes is one event until it was away for ``QUIET``.
    """

    def __init__(self, events: EventLog) -> None:
        self._loop = asyncio.get_running_loop()
        self._events = events
        self._failed_at: float | None = None
        self._loop.set_exception_handler(self._handle)

    def pulse(self) -> None:
        """Say when it is over."""
        if self._failed_at is not None and self._loop.time() - self._failed_at > QUIET:
            self._failed_at = None
            text = "the control socket takes connections again"
            self._events.tell("control.reachable", Severity.INFO, text)

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "socket" not in context or not isinstance(error, OSError) or error.errno not in SCARCE:
            loop.default_exception_handler(context)
            return
        is_new, self._failed_at = self._failed_at is None, loop.time()
        if is_new:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            text = (
                f"no connection can be taken: {error.strerror}; commands wait, and nothing new can be started; "
                "workers that run go on; help: raise LimitNOFILE= of the unit, or ulimit -n"
            )
            self._events.tell("control.unreachable", Severity.CRITICAL, text, fields={"open_files_limit": limit})
