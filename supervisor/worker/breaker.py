"""A worker's dependency breaker: closes the gate of the lanes when a record says that what it needs is away.

It works by itself, trying with one record at growing intervals; where there is a parent, that tells it when to hold
and whose part it is to try (``core.breaker`` has the rules of both).
"""

import random
import time

from supervisor.core.breaker import Hold, told, went_down
from supervisor.core.lane import BUSY, Lane
from supervisor.core.lanes import BREAKER
from supervisor.core.spec import BreakerOrder
from supervisor.worker.engine import Engine, Item

NOTHING_EVERY = 1.0
"""Seconds between two times that a prober says it has no record to try with."""


class Breaker:
    """The breaker of one worker. Every attribute needs the engine's mutex."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._backoff = engine.spec.group.breaker.probe
        self._hold: Hold | None = None
        self._stale: set[Lane[Item]] = set()
        """Lanes whose records were in their handlers when the breaker closed: what they say is older than that."""
        self._said_nothing_at = 0.0
        self.obey(engine.spec.breaker)

    def down(self, name: str, lane: Lane[Item] | None = None) -> None:
        """Hold all records: one of them, of a busy ``lane`` where it has one, failed because ``name`` is down.

        Any handler thread, mutex not held.
        """
        engine = self._engine
        with engine.mutex:
            if lane is not None and lane in self._stale:
                self._stale.discard(lane)
                return
            is_probe = lane is not None and lane is engine.lanes.trial
            if is_probe:
                engine.lanes.trial = None
            if self._hold is not None and not (is_probe and self._hold.probes):
                return
            now = time.monotonic()
            hold = went_down(self._hold, name, backoff=self._backoff, now=now, chance=_chance())
            self._close(hold, now)
        self._tell("down", name=name, failures=hold.failures, after=hold.probe_at - now)

    def lost(self, lane: Lane[Item]) -> None:
        """Take no word from a record whose partition went while it was tried; mutex held."""
        if lane is self._engine.lanes.trial:
            self._engine.lanes.trial = None

    def obey(self, order: BreakerOrder) -> None:
        """Hold or go on, as the parent says. Main thread."""
        engine = self._engine
        with engine.mutex:
            now = time.monotonic()
            hold = told(self._hold, order, backoff=self._backoff, now=now, chance=_chance())
            if hold is not None:
                self._close(hold, now)
            elif self._hold is not None:
                self._open()

    def tick(self) -> None:
        """See what became of the probe, or have one begun when it is due. Main thread, each tick."""
        engine = self._engine
        with engine.mutex:
            hold, lanes = self._hold, engine.lanes
            if hold is None or engine.stopping:
                return
            word = ""
            if lanes.trial is not None:
                if lanes.trial.state is BUSY and lanes.trial.items:
                    return
                self._open()
                word = "up"
            elif hold.probes:
                word = self._try(hold, time.monotonic())
        if word:
            self._tell(word)

    def _try(self, hold: Hold, now: float) -> str:
        """Let one record be begun once it is time; mutex held. Return what the parent must know, or nothing."""
        lanes = self._engine.lanes
        if now < hold.probe_at:
            return ""
        if lanes.can_try(now=now):
            lanes.trials = 1
            self._engine.work.notify()
            return ""
        lanes.trials = 0
        if now - self._said_nothing_at < NOTHING_EVERY or now - hold.probe_at < NOTHING_EVERY:
            return ""
        self._said_nothing_at = now
        return "nothing"

    def _close(self, hold: Hold, now: float) -> None:
        engine = self._engine
        if self._hold is None:
            self._stale.clear()
            engine.lanes.close(BREAKER, now=now)
            engine.lanes.hold_trials()
        self._hold = hold
        engine.sips = hold.probes
        if not hold.probes:
            engine.lanes.trials = 0

    def _open(self) -> None:
        engine = self._engine
        self._hold = None
        self._stale = set(engine.lanes.working_lanes()) - {engine.lanes.trial}
        engine.sips = False
        engine.lanes.open(BREAKER)
        engine.work.notify_all()

    def _tell(self, state: str, **members: object) -> None:
        self._engine.link.send("breaker", state=state, **members)


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter
