"""What signals ask of the supervisor, before and after there is one that could be asked.

Handlers are Python's, never ``SIG_IGN``: a process that is exec'd would inherit that.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from supervisor.parent.supervisor import Supervisor

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
IGNORED = (signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Wishes:
    """``reload``, ``dump`` and ``reopen`` are for HUP, USR1 and USR2 once there is something to do it."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    supervisor: Supervisor | None = None
    by: str = ""
    interrupts: int = 0
    fast: bool = False
    reload: Callable[[], None] | None = None
    dump: Callable[[], None] | None = None
    reopen: Callable[[], None] | None = None

    def listen(self) -> None:
        """Have all signals answered from now on."""
        loop = asyncio.get_running_loop()
        for number in STOP:
            loop.add_signal_handler(number, self.take, number)
        loop.add_signal_handler(signal.SIGHUP, self.hang_up)
        loop.add_signal_handler(signal.SIGUSR1, self._do, "dump")
        loop.add_signal_handler(signal.SIGUSR2, self._do, "reopen")
        for number in IGNORED:
            loop.add_signal_handler(number, lambda: None)

    def take(self, number: signal.Signals) -> None:
        """Stop: SIGQUIT and a second SIGINT do not wait for handlers."""
        self.interrupts += number == signal.SIGINT
        self.fast = self.fast or self.interrupts > 1 or number == signal.SIGQUIT
        self.by = self.by or number.name
        self.asked.set()
        if self.supervisor is not None:
            self.supervisor.stop(number.name, fast=self.fast)

    def hang_up(self) -> None:
        """Reload; but end with the terminal where there is one."""
        if sys.stderr.isatty():
            self.take(signal.SIGHUP)
        else:
            self._do("reload")

    def _do(self, what: str) -> None:
        act: Callable[[], None] | None = getattr(self, what)
        if act is not None:
            act()
        else:
            logger.warning("supervisor.signal_ignored", extra={"fields": {"text": f"nothing to {what} now"}})
