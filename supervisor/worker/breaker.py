"""A worker's dependency breaker: closes the gate of the lanes when a record says that what it needs is away.

It works by itself, trying with one record at growing intervals; where there is a parent, that tells it when to hold
and whose part it is to try (rules: ``core.hold``, the parent's ``core.breaker``).
"""

import random
import time

from supervisor.core.hold import Hold, told, went_down
from supervisor.core.lane import BUSY, Lane
from supervisor.core.lanes import BREAKER
from supervisor.core.spec import BreakerOrder
from supervisor.plugin.types import Record
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Item

NOTHING_EVERY = 1.0
"""Seconds between two times that a prober says it has no record to try with."""
MOST_SIPPED = 500
"""Records that are read at once to be tried one by one, when those before them told nothing."""


class Breaker:
    """The breaker of one worker. Every attribute needs the engine's mutex."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._backoff = engine.spec.group.breaker.probe
        self._hold: Hold | None = None
        self._stale: set[Lane[Item]] = set()
        """Lanes whose records were in their handlers when the breaker closed: what they say is older than that."""
        self._said_nothing_at = 0.0
        self._unsaid: tuple[str, dict[str, object]] | None = None
        """The last word, while the parent took it not."""
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

    def skipped(self, record: Record, store: str) -> None:
        """Take no word from a record whose handler was not run: ``store`` knew that it was done; have the next one try.

        That the store answers is a word of the store alone. Any thread, mutex not held.
        """
        engine = self._engine
        if not engine.lanes.closed & BREAKER:  # nearly always
            return
        with engine.mutex:
            hold, trial = self._hold, engine.lanes.trial
            if hold is None or hold.name == store or trial is None or not trial.items:
                return
            message = trial.head[1]
            if (record.topic, record.partition, record.offset) != (*trial.place, message.offset()):
                return
            engine.lanes.trial = None
            if hold.probes:
                engine.lanes.trials = 1
                engine.sips = min(2 * engine.sips, MOST_SIPPED)

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
        if self._unsaid is not None:
            state, members = self._unsaid
            self._tell(state, **members)
        idle = False
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
                idle = self._is_idle()
        if word == "nothing":
            self._tell(word, idle=idle)
        elif word:
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

    def _is_idle(self) -> bool:
        """Tell whether no record waits here: none is held, and all partitions are read to their ends; mutex held."""
        engine = self._engine
        return not engine.queued and engine.owned.keys() == engine.at_end | engine.stopped.keys()

    def _close(self, hold: Hold, now: float) -> None:
        engine = self._engine
        if self._hold is None:
            self._stale.clear()
            engine.lanes.close(BREAKER, now=now)
            engine.lanes.hold_trials()
        self._hold = hold
        engine.sips = int(hold.probes)
        if not hold.probes:
            engine.lanes.trials = 0

    def _open(self) -> None:
        engine = self._engine
        self._hold = None
        self._stale = set(engine.lanes.working_lanes()) - {engine.lanes.trial}
        engine.sips = 0
        engine.lanes.open(BREAKER)
        engine.work.notify_all()

    def _tell(self, state: str, **members: object) -> None:
        """Tell the parent; a word that it takes not is said again at the next tick, unless there is a newer one."""
        was_taken = self._engine.link.send("breaker", state=state, **members)
        self._unsaid = None if was_taken else (state, members)


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter
