"""The notifier child: alert plugins run there, so that none of them can delay supervision (P5)."""

import asyncio
import logging
import random
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from supervisor.core.backoff import Backoff
from supervisor.core.events import Event, Severity
from supervisor.core.exits import describe
from supervisor.core.frames import Frame, FrameError
from supervisor.core.jsonable import to_json
from supervisor.core.spec import End, NotifierSpec
from supervisor.parent.channel import Channel
from supervisor.parent.eventlog import EventLog
from supervisor.parent.exits import ExitWatch
from supervisor.parent.launcher import Child, send_signal, start_child
from supervisor.parent.told import tell

QUEUE = 1000
UNSENT = 64 * 1024
HEALTHY = 60.0
FLUSH = 5.0
STOP = 5.0
TERM = 2.0
STARTS = Backoff(initial=1.0, factor=2.0, max=60.0, jitter=0.5)

logger = logging.getLogger(__name__)


class Notifier:
    """Keeps one notifier child alive and fed; a bounded queue stands before it, the oldest are dropped.

    An event is sent once: one that kills the notifier does not come again.
    """

    def __init__(self, spec: NotifierSpec, program: tuple[str, ...], *, exits: ExitWatch, events: EventLog) -> None:
        self.child: Child | None = None
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._spec = spec
        self._program = program
        self._exits = exits
        self._events = events
        self._queue: deque[Event] = deque()
        self._channel: Channel | None = None
        self._ready_at: float | None = None
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = self._retired = False
        self._random = random.Random()  # noqa: S311 - jitter
        events.listen(self.offer)

    def start(self) -> None:
        """Start the child; when that fails, later."""
        self._timer = None
        if self._stopping:
            return
        try:
            child, connection = start_child(self._program)
        except OSError as error:
            self._again(f"cannot start a process: {error}")
            return
        self.child = child
        self._channel = Channel(connection, self._on_frame, name="notifier")
        self._channel.send("spec", spec=to_json(self._spec))
        self._exits.watch(child, self._on_exit)

    def offer(self, event: Event) -> None:
        """Queue what people should know; never waits."""
        if event.severity in {Severity.DEBUG, Severity.INFO} or self._retired:
            return
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(replace(event, attachments={}))
        self.pump()

    def pump(self) -> None:
        """Send what the child takes; also called about once a second."""
        if self._ready_at is None or self._channel is None:
            return
        while self._queue and self._channel.is_open and self._channel.unsent < UNSENT:
            event = self._queue.popleft()
            try:
                self._channel.send("alert", event=to_json(event))
            except FrameError as error:
                self.dropped += 1
                logger.warning("notifier.event_too_large", extra={"fields": {"event": event.name, "error": str(error)}})

    def retire(self) -> None:
        """Take no more events: another notifier has them."""
        self._retired = True

    async def stop(self) -> None:
        """Let the child take what is queued, then end it; at most ``FLUSH + STOP + TERM`` and a little."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        await self._until(lambda: self.child is None or self._is_flushed(), FLUSH)
        if self._channel is not None:
            self._channel.send("stop", end=End.LEAVE, timeout=STOP)
        await self._until(lambda: self.child is None, STOP)
        for number, patience in ((signal.SIGTERM, TERM), (signal.SIGKILL, TERM)):
            if self.child is not None:
                send_signal(self.child, number, whole_group=number == signal.SIGKILL)
                await self._until(lambda: self.child is None, patience)

    def _is_flushed(self) -> bool:
        self.pump()
        return not self._queue and (self._channel is None or not self._channel.unsent)

    async def _until(self, condition: Callable[[], bool], patience: float) -> None:
        deadline = self._loop.time() + patience
        while not condition() and self._loop.time() < deadline:  # noqa: ASYNC110 - at the very end, for seconds
            await asyncio.sleep(0.02)

    def _on_frame(self, frame: Frame) -> None:
        match frame["type"]:
            case "ready":
                self._ready_at = self._loop.time()
                self.pump()
            case "event":
                try:
                    tell(self._events, frame, group="", slot=None)
                except (KeyError, ValueError) as error:
                    logger.warning("parent.frame_refused", extra={"fields": {"from": "notifier", "error": str(error)}})

    def _on_exit(self, status: int) -> None:
        if self._channel is not None:
            self._channel.finish()
        ready_at, self._ready_at = self._ready_at, None
        self.child = self._channel = None
        if self._stopping:
            return
        if ready_at is not None and self._loop.time() - ready_at >= HEALTHY:
            self._failures = 0
        self._again(describe(status))

    def _again(self, text: str) -> None:
        delay = STARTS.delay(self._failures, chance=self._random.random())
        self._failures += 1
        self._timer = self._loop.call_later(delay, self.start)
        fields = {"delay": round(delay, 3), "queued": len(self._queue), "dropped": self.dropped}
        self._events.tell("notifier.exited", Severity.WARNING, f"{text}; starts again", fields=dict(fields))
