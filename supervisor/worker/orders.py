"""What the main thread of a worker is told: by the parent's frames, by signals, by the parent's death."""

import math
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.core.cases import Record
from supervisor.core.frames import Frame
from supervisor.core.spec import End
from supervisor.link import Link
from supervisor.tether import unbound


@dataclass(frozen=True, slots=True)
class Stop:
    """End: how, and within how many seconds; ``deadline`` is of the monotonic clock.

    ``overdue``: records beyond their time in their handlers. Nobody waits for them, and they are why it is to end.
    """

    end: End
    timeout: float
    deadline: float
    overdue: frozenset[Record] = frozenset()


def stop(end: End, timeout: float, overdue: Iterable[Sequence[Any]] = ()) -> Stop:
    """Return the order to end from now on."""
    records = frozenset((str(topic), int(partition), int(offset)) for topic, partition, offset in overdue)
    return Stop(end, timeout, time.monotonic() + timeout, records)


class Orders:
    """Wait for orders without ever blocking longer than asked. Main thread.

    Signal handlers only set a flag: an exception raised in one while ``consume()`` runs would lose records.
    """

    def __init__(self, link: Link, early: Sequence[Frame], *, orphan_grace: float, stop_timeout: float) -> None:
        self._link = link
        self._frames = deque(early)
        self._orphan_grace = orphan_grace
        self._stop_timeout = stop_timeout
        self.other: Callable[[Frame], None] = lambda _frame: None
        """Called with orders that end nothing."""
        self._terminated = False
        self._orphaned = False
        self._parent = os.getppid()
        reader, writer = socket.socketpair()
        reader.setblocking(False)  # noqa: FBT003 - the socket API
        writer.setblocking(False)  # noqa: FBT003 - the socket API
        self._wakeup = (reader, writer)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(link.fileno(), selectors.EVENT_READ)
        self._selector.register(reader, selectors.EVENT_READ)

    def wait(self, timeout: float) -> Stop | None:
        """Return the next order, or ``None`` after ``timeout`` seconds."""
        self._link.flush()
        for key, _ in self._selector.select(0 if self._frames else timeout):
            if key.fileobj is self._wakeup[0]:
                self._wakeup[0].recv(4096)
            else:
                self._frames += self._link.receive()
        while self._frames:
            frame = self._frames.popleft()
            if frame["type"] == "stop":
                return stop(End(frame["end"]), float(frame["timeout"]), frame.get("overdue", ()))
            self.other(frame)
        if self._terminated:
            self._terminated = False
            return stop(End.KEEP, self._stop_timeout)
        if not self._orphaned and (self._link.lost or os.getppid() != self._parent):
            self._orphaned = True
            self._selector.unregister(self._link.fileno())
            # The kernel's own deadline: it holds even when a handler keeps the interpreter lock for good.
            unbound(math.ceil(self._orphan_grace) + 1)
            return stop(End.KEEP, self._orphan_grace)
        return None

    def _on_term(self, _signal: int, _frame: object) -> None:
        self._terminated = True
