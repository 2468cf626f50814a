"""Keep one child process alive that is not a worker: start it, start it again when it ended, end it for good."""

import asyncio
import random
import signal
import socket
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from supervisor.core.backoff import Backoff
from supervisor.core.exits import describe
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.launcher import Child, send_signal

HEALTHY = 60.0
"""Seconds that a child must have been ready for its earlier ends to be forgotten."""
STARTS = Backoff(initial=1.0, factor=2.0, max=60.0, jitter=0.5)


class Line(Protocol):
    """What a child is spoken to over."""

    def finish(self) -> None:
        """Take the last words of a dead child and close."""
        ...


LineT = TypeVar("LineT", bound=Line)


class Keeper(Generic[LineT]):
    """Keeps one child alive, in the parent's loop; what is said to it is its owner's matter.

    ``launch`` starts the child, or raises ``OSError``. ``begin`` gets our end of its socketpair and returns the
    line to it. ``down`` is called with how it ended, or why there is none, and the seconds until the next start,
    of which the first ``free`` in a row come at once. ``on_exit`` is called at each end, whatever follows.
    """

    def __init__(
        self,
        launch: Callable[[], tuple[Child, socket.socket]],
        begin: Callable[[socket.socket], LineT],
        down: Callable[[str, float], None],
        *,
        exits: ExitWatch,
        backoff: Backoff,
        free: int = 0,
    ) -> None:
        self.child: Child | None = None
        self.line: LineT | None = None
        self.failures = 0
        self.on_exit: Callable[[int], None] = lambda _status: None
        self._loop = asyncio.get_running_loop()
        self._launch = launch
        self._begin = begin
        self._down = down
        self._exits = exits
        self._backoff = backoff
        self._free = free
        self._ready_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_wanted = self._is_retired = self._is_replacing = False
        self._random = random.Random()  # noqa: S311 - jitter

    @property
    def is_ready(self) -> bool:
        """Whether the child that lives now was said to be ready."""
        return self._ready_at is not None

    def start(self) -> None:
        """Start the child now and keep it alive; when it cannot be started, later."""
        if self._is_retired or self.child is not None:
            return
        self._is_wanted = True
        try:
            self.child, connection = self._launch()
        except OSError as error:
            self._again(f"cannot start a process: {error}")
            return
        self._exits.watch(self.child, self._exited)
        self.line = self._begin(connection)

    def start_later(self, delay: float) -> None:
        """Start the child in ``delay`` seconds, and only then."""
        self._cancel()
        self._timer = self._loop.call_later(delay, self.start)

    def ready(self) -> None:
        """Note that the child said it is ready."""
        self._ready_at = self._loop.time()

    def replace(self) -> None:
        """Kill the child and start another at once, which is no failure; nothing happens when there is none."""
        if self.child is not None:
            self._is_wanted = self._is_replacing = True
            self.kill()

    def rest(self) -> None:
        """Kill the child; there is none until ``start`` or ``replace``."""
        self._is_wanted = False
        self._cancel()
        self.kill()

    def kill(self) -> None:
        """Kill the child and its process group."""
        self.signal(signal.SIGKILL, whole_group=True)

    def signal(self, number: int, *, whole_group: bool = False) -> None:
        """Send the child a signal, if there is one."""
        if self.child is not None:
            send_signal(self.child, number, whole_group=whole_group)

    def retire(self) -> None:
        """Start no child any more, for good; the present one stays."""
        self._is_retired = True
        self._cancel()

    async def gone(self, patience: float) -> None:
        """Wait until there is no child, ``patience`` seconds at most."""
        await until(lambda: self.child is None, patience)

    def _exited(self, status: int) -> None:
        if self.line is not None:
            self.line.finish()
        ready_at, self._ready_at = self._ready_at, None
        self.child = self.line = None
        replacing, self._is_replacing = self._is_replacing, False
        self.on_exit(status)
        if self._is_retired or not self._is_wanted:
            return
        if replacing:
            self.start()
            return
        if ready_at is not None and self._loop.time() - ready_at >= HEALTHY:
            self.failures = 0
        self._again(describe(status))

    def _again(self, text: str) -> None:
        waits = self.failures - self._free
        delay = self._backoff.delay(waits, chance=self._random.random()) if waits >= 0 else 0.0
        self.failures += 1
        self.start_later(delay)
        self._down(text, delay)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def until(condition: Callable[[], bool], patience: float) -> None:
    """Wait for ``condition``, ``patience`` seconds at most; for the end, where nobody else tells of it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while not condition() and loop.time() < deadline:  # noqa: ASYNC110 - at the very end, for seconds
        await asyncio.sleep(0.02)
