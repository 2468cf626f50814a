"""How a lane's turn ends: its record is settled, waits, or is given back unsettled."""

import time

from supervisor.core.lane import Lane
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Item


class Turns:
    """The ends of turns; ``let_go`` and ``give_up`` need the engine's mutex. The thread whose busy lane it is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def wait(self, lane: Lane[Item], after: float, *, attempt: int, among: set[Lane[Item]] | None = None) -> None:
        """Have the head of a busy lane tried again in a while, and noted ``among`` others; mutex not held."""
        engine = self._engine
        with engine.mutex:
            if lane.head[0].revoked or engine.stopping:
                self.give_up(lane)
                return
            lane.attempt = attempt
            if among is not None:
                among.add(lane)
            engine.meters.retried += 1
            engine.lanes.wait(lane, due=time.monotonic() + max(0.0, after))
            engine.progress.notify_all()
            engine.work.notify()

    def put_back(self, lane: Lane[Item], *, attempt: int) -> None:
        """Let the head of a busy lane be the next to be begun, once anything is; mutex not held."""
        engine = self._engine
        with engine.mutex:
            if lane.head[0].revoked or engine.stopping:
                self.give_up(lane)
                return
            lane.attempt = attempt
            engine.lanes.put_back(lane)
            engine.progress.notify_all()
            engine.work.notify()

    def let_go(self, lane: Lane[Item]) -> None:
        """Settle the head of a busy lane and end the lane's turn."""
        self._engine.settle_head(lane)
        self._end(lane)

    def give_up(self, lane: Lane[Item]) -> None:
        """End a busy lane's turn with its head unsettled, to be delivered again, here or elsewhere.

        While stopping all of the lane goes: what else a batch left undone must not be begun before its head.
        Otherwise only what was revoked: records of the partition's next ownership may wait behind it.
        """
        while self._engine.stopping and lane.items:
            self._engine.lanes.settle_head(lane)
        self._end(lane)

    def _end(self, lane: Lane[Item]) -> None:
        self._engine.drop_revoked(lane)
        self._engine.lanes.give_back(lane)
        self._engine.work.notify()
