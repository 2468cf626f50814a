"""Once a second: is our own duty done? Then feed systemd's watchdog, and say in a line how everything is."""

import asyncio
import logging

from supervisor.core.duty import Owed, overdue, owed_to_slot
from supervisor.core.events import Event
from supervisor.core.status_line import status_line
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.running.notify import ServiceManager
from supervisor.parent.supervisor import LOOK, Supervisor

STATUS_EVERY = 3.0
STOP_AHEAD = 15.0
"""Seconds that are asked for with every pulse while stopping: systemd must not end what our own deadlines bound."""

logger = logging.getLogger(__name__)


class Duty:
    """Reports to the service manager, in the parent's loop. ``pulse`` is called when every slot was looked at."""

    def __init__(self, manager: ServiceManager, supervisor: Supervisor, exits: ExitWatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._manager = manager
        self._supervisor = supervisor
        self._exits = exits
        self._line = ""
        self._line_at = float("-inf")
        self._is_late = False
        self._is_stopping = False

    def pulse(self) -> None:
        """Feed the watchdog unless something is overdue; update the status line; ask for time to stop."""
        if not self._manager.is_there:
            return
        now = self._loop.time()
        self._manager.flush()
        if not self.late(now=now):
            self._manager.watchdog(now=now)
        if self._supervisor.stopping:
            self._manager.extend(STOP_AHEAD)
        self._status(now=now)

    def late(self, *, now: float) -> str:
        """Say what we owe and are late with, or nothing; once in the log, too."""
        owed = [Owed("children", "a look for dead ones", self._exits.next_sweep)]
        for runner in self._supervisor.runners.values():
            owed += owed_to_slot(runner.name, runner.slot, next_look=runner.looked_at + LOOK)
        late = overdue(owed, now=now)
        if late and not self._is_late:
            first = late[0]
            fields = {"whom": first.whom, "what": first.what, "late": round(now - first.due, 1), "count": len(late)}
            logger.critical("parent.overdue", extra={"fields": fields})
        self._is_late = bool(late)
        return f"{late[0].whom}: {late[0].what} is {now - late[0].due:.0f} s late" if late else ""

    def hear(self, event: Event) -> None:
        """Say at once that we stop or reload, whoever asked; listens to the event log."""
        match event.name:
            case "supervisor.stopping" if not self._is_stopping:
                self._is_stopping = True
                self._line_at = float("-inf")
                self._manager.stopping()
                self._manager.extend(STOP_AHEAD)
            case "reload.started":
                self._manager.reloading()
            case "reload.done" | "reload.failed" if not event.group:  # with a group it goes on with the others
                self._manager.ready()

    def _status(self, *, now: float) -> None:
        if now - self._line_at < STATUS_EVERY:
            return
        self._line_at = now
        line = status_line(self._supervisor.snapshot(), is_stopping=self._supervisor.stopping)
        if line != self._line:
            self._line = line
            self._manager.status(line)
