"""Records whose lanes are blocked until somebody confirms what was written for them: a sink, or the brokers."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from supervisor.core.lane import Lane
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Item

Then = Callable[[Lane[Item], BaseException | None], None]
"""Takes the answer for a lane, which is busy again: ``None`` when it was written."""


class Pending:
    """Something on its way. ``token`` grows with each try, so that a late answer to an older one is ignored."""

    __slots__ = ("deadline", "token", "tries")

    def __init__(self) -> None:
        self.token = 0
        self.tries = 0
        self.deadline = 0.0


class Confirmations:
    """Lanes that wait for an answer, ``timeout`` seconds at most."""

    def __init__(self, engine: Engine, timeout: float, then: Then) -> None:
        self._engine = engine
        self._timeout = timeout
        self._then = then
        self._awaited: dict[Lane[Item], Pending] = {}

    def wait_for(self, lane: Lane[Item], pending: Pending, future: "Future[None]") -> None:
        """Block a busy lane until ``future`` ends; the caller raised ``token`` for this try."""
        token = pending.token
        with self._engine.mutex:
            pending.deadline = time.monotonic() + self._timeout
            self._awaited[lane] = pending
            self._engine.lanes.block(lane)
        future.add_done_callback(partial(self._answered, lane, pending, token))

    def overdue(self) -> None:
        """Give up on who did not answer in time. Main thread, each tick."""
        if not self._awaited:
            return
        now = time.monotonic()
        with self._engine.mutex:
            late = [(lane, pending) for lane, pending in self._awaited.items() if pending.deadline <= now]
        for lane, pending in late:
            self._take_back(lane, pending, pending.token, TimeoutError(f"no answer within {self._timeout:g} s"))

    def _answered(self, lane: Lane[Item], asked: Pending, token: int, future: "Future[None]") -> None:
        """Take an answer; whatever thread the future ends in."""
        try:
            error = future.exception()
        except BaseException as cancelled:  # noqa: BLE001 - a cancelled future was not written
            error = cancelled
        try:
            self._take_back(lane, asked, token, error)
        except BaseException as crash:  # noqa: BLE001 - crash-only: futures swallow what their callbacks raise
            self._engine.crash(crash)

    def _take_back(self, lane: Lane[Item], asked: Pending, token: int, error: BaseException | None) -> None:
        """Take an answer, unless it is late: to an older try, or to something that another one of the lane followed."""
        with self._engine.mutex:
            pending = self._awaited.get(lane)
            if pending is not asked or pending.token != token:
                return
            del self._awaited[lane]
            pending.token += 1
            self._engine.lanes.unblock(lane)
        self._then(lane, error)
