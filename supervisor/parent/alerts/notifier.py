"""The notifier child: alert plugins run there, so that none of them can delay supervision (P5)."""

import asyncio
import logging
import signal
import socket
from collections import deque
from dataclasses import replace
from functools import partial

from supervisor.core.child_specs import NotifierSpec
from supervisor.core.events import Event, Severity
from supervisor.core.frames import Frame, FrameError
from supervisor.core.jsonable import to_json
from supervisor.core.spec import End
from supervisor.parent.alerts.deliveries import Deliveries
from supervisor.parent.processes.channel import Channel
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import STARTS, Keeper, until
from supervisor.parent.processes.launcher import Child, start_child
from supervisor.parent.processes.told import tell
from supervisor.parent.store.eventlog import EventLog

QUEUE = 1000
ATTACHED = 16 * 1024
"""Characters of a stack, or of log lines, that go along: their ends say what happened."""
UNSENT = 64 * 1024
FLUSH = 5.0
STOP = 5.0
TERM = 2.0
SILENT = 120.0
"""Seconds without a word after which the child is taken for stuck; it speaks each ``notifier.loop.KEEP_ALIVE``."""

logger = logging.getLogger(__name__)


class Notifier:
    """Keeps one notifier child alive and fed; a bounded queue stands before it, the oldest are dropped.

    An event is sent once: one that kills the notifier does not come again.
    """

    def __init__(
        self,
        spec: NotifierSpec,
        program: tuple[str, ...],
        *,
        exits: ExitWatch,
        events: EventLog,
        deliveries: Deliveries | None = None,
    ) -> None:
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._heard_at = 0.0
        self._deliveries = deliveries or Deliveries()
        self._spec = spec
        self._events = events
        self._queue: deque[Event] = deque()
        self._retired = False
        launch = partial(start_child, program)
        self._keeper = Keeper(launch, self._begin, self._tell_down, exits=exits, backoff=STARTS)
        self._keeper.on_exit = lambda _status: self._deliveries.begin()

    @property
    def child(self) -> Child | None:
        """The process, while there is one."""
        return self._keeper.child

    def start(self) -> None:
        """Start the child; when that fails, later."""
        self._keeper.start()

    def offer(self, event: Event) -> None:
        """Queue what people are to be told; never waits."""
        if self._retired:
            return
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self.dropped += 1
        attachments = {name: text[-ATTACHED:] for name, text in event.attachments.items()}
        fields = {**event.fields, "supervisor": self._spec.supervisor}  # people hear several of them
        self._queue.append(replace(event, fields=fields, attachments=attachments))
        self.pump()

    def pump(self) -> None:
        """Send what the child takes, and end one that says nothing any more; also called about once a second."""
        if self._keeper.child is not None and self._loop.time() - self._heard_at >= SILENT:
            self._keeper.kill()
        channel = self._keeper.line
        if not self._keeper.is_ready or channel is None:
            return
        while self._queue and channel.is_open and channel.unsent < UNSENT:
            event = self._queue.popleft()
            try:
                channel.send("alert", event=to_json(event))
            except FrameError as error:
                self.dropped += 1
                logger.warning("notifier.event_too_large", extra={"fields": {"alert": event.name, "error": str(error)}})

    def retire(self) -> None:
        """Take no more events: another notifier has them."""
        self._retired = True

    async def stop(self) -> None:
        """Let the child take what is queued, then end it; at most ``FLUSH + STOP + TERM`` and a little."""
        keeper = self._keeper
        keeper.retire()
        await until(lambda: keeper.child is None or self._is_flushed(), FLUSH)
        if keeper.line is not None:
            keeper.line.send("stop", end=End.LEAVE, timeout=STOP)
        await keeper.gone(STOP)
        keeper.signal(signal.SIGTERM)
        await keeper.gone(TERM)
        keeper.kill()
        await keeper.gone(TERM)

    def _begin(self, connection: socket.socket) -> Channel:
        self._heard_at = self._loop.time()
        channel = Channel(connection, self._on_frame, name="notifier")
        channel.send("spec", spec=to_json(self._spec))
        return channel

    def _is_flushed(self) -> bool:
        self.pump()
        return not self._queue and (self._keeper.line is None or not self._keeper.line.unsent)

    def _on_frame(self, frame: Frame) -> None:
        self._heard_at = self._loop.time()
        match frame["type"]:
            case "ready":
                self._keeper.ready()
                self.pump()
            case "event" | "stats":
                try:
                    self._hear(frame)
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    logger.warning("parent.frame_refused", extra={"fields": {"from": "notifier", "error": str(error)}})

    def _hear(self, frame: Frame) -> None:
        if frame["type"] == "stats":
            self._deliveries.told(frame["stats"])
        else:
            tell(self._events, frame, group="", slot=None)

    def _tell_down(self, text: str, delay: float) -> None:
        fields = {"delay": round(delay, 3), "queued": len(self._queue), "dropped": self.dropped}
        self._events.tell("notifier.exited", Severity.WARNING, f"{text}; starts again", fields=dict(fields))
