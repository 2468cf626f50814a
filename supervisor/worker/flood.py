"""A worker's flood guard: judges each dead letter before it is written, and closes the gate of the lanes at a limit.

The parent counts over all workers of the group and says when to go on (rules: ``core.flood_window``, the parent's
``core.flood``).
"""

import time
from enum import Enum, auto

from supervisor.core.flood_window import TRIALS, FloodWindow, Trial, trial
from supervisor.core.lanes import BREAKER, FLOOD
from supervisor.core.spec import FloodAction, FloodOrder, FloodState
from supervisor.worker.engine import Engine

SAMPLE_EVERY = 0.5


class Fate(Enum):
    """What is to become of a record that would be a dead letter."""

    WRITE = auto()
    HOLD = auto()
    SHED = auto()


class FloodGuard:
    """The guard of one worker. Every attribute needs the engine's mutex."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._spec = engine.spec.group.flood
        self._state = FloodState.NORMAL
        self._letters = 0
        """Dead letters decided on, and written or shed."""
        self._settled = 0
        """How many of them count as settled records."""
        self._base = (0, 0)
        """The counts when records began to try."""
        self._is_granted = False
        self._sampled_at = time.monotonic()
        self._window = FloodWindow(self._spec, now=self._sampled_at)
        self.obey(engine.spec.flood)

    def letter(self) -> Fate:
        """Say what is to become of one more record that would be a dead letter. Any handler thread, mutex not held."""
        if not self._spec.is_on:
            return Fate.WRITE
        with self._engine.mutex:
            reason = ""
            if self._state is not FloodState.TRIPPED:
                reason = self._judge()
                if not reason:
                    return Fate.WRITE
                self._trip()
            if self._spec.action is FloodAction.SHED:
                self._letters += 1
        if reason:
            self._engine.link.send("flood", state="tripped", reason=reason)
        return Fate.SHED if self._spec.action is FloodAction.SHED else Fate.HOLD

    def written_anyway(self) -> None:
        """Count a letter that cannot be held; mutex held."""
        self._letters += 1

    def settles(self, records: int) -> None:
        """Count records that settled as letters, or were shed; mutex held."""
        self._settled += records

    @property
    def is_trying(self) -> bool:
        """Whether a few records may try; mutex held."""
        return self._state is FloodState.HALF_OPEN

    def obey(self, order: FloodOrder) -> None:
        """Hold, let a few try, or go on, as the parent says. Main thread."""
        engine = self._engine
        with engine.mutex:
            if order.state is FloodState.TRIPPED:
                self._trip()
            elif order.state is FloodState.HALF_OPEN:
                self._begin_trials()
            elif self._state is not FloodState.NORMAL or order.amnesty:
                self._resume(amnesty=order.amnesty)

    def tick(self) -> None:
        """Note how things stand, and let records try when they may. Main thread, each tick."""
        if not self._spec.is_on:
            return
        engine = self._engine
        now, passed = time.monotonic(), False
        with engine.mutex:
            if self._state is FloodState.NORMAL and now - self._sampled_at >= SAMPLE_EVERY:
                self._sampled_at = now
                self._window.sample(self._letters, self._others, now=now)
            if self._state is FloodState.HALF_OPEN and not engine.stopping:
                passed = self._try(now)
        if passed:
            engine.link.send("flood", state="passed")

    @property
    def _others(self) -> int:
        return self._engine.counters.settled - self._settled

    def _judge(self) -> str:
        """Return why the next letter is one too many, or count it."""
        letters, now = self._letters + 1, time.monotonic()
        if self._state is FloodState.HALF_OPEN:
            tried = trial(letters - self._base[0], self._others - self._base[1])
            reason = "those that tried failed" if tried is Trial.FAILED else ""
        else:
            reason = self._window.reason(letters, self._others, now=now)
        if not reason:
            self._letters = letters
        return reason

    def _trip(self) -> None:
        self._state = FloodState.TRIPPED
        if self._spec.action is not FloodAction.SHED:
            engine = self._engine
            engine.lanes.close(FLOOD, now=time.monotonic())
            engine.lanes.hold_trials()
            if not engine.lanes.closed & BREAKER:
                engine.sips = 0

    def _begin_trials(self) -> None:
        if self._state is FloodState.HALF_OPEN:
            return
        self._engine.lanes.close(FLOOD, now=time.monotonic())
        self._state, self._is_granted = FloodState.HALF_OPEN, False
        self._base = (self._letters, self._others)

    def _try(self, now: float) -> bool:
        """Let records try, unless a dependency is down; return whether enough have got through."""
        engine, lanes = self._engine, self._engine.lanes
        if trial(self._letters - self._base[0], self._others - self._base[1]) is Trial.PASSED:
            self._resume(amnesty=False)
            return True
        if lanes.closed & BREAKER:
            self._is_granted = False
            return False
        engine.sips = 1
        if not self._is_granted:
            self._is_granted, lanes.trials = True, TRIALS
            engine.work.notify_all()
        elif (
            not lanes.trials
            and not lanes.busy
            and not lanes.blocked
            and lanes.next_due() is None
            and lanes.can_try(now=now)
        ):
            lanes.trials = 1
            engine.work.notify()
        return False

    def _resume(self, *, amnesty: bool) -> None:
        engine = self._engine
        self._state = FloodState.NORMAL
        self._window.clear(self._letters, self._others, now=time.monotonic(), amnesty=amnesty)
        if engine.lanes.closed & FLOOD:
            engine.lanes.open(FLOOD)
            if not engine.lanes.closed & BREAKER:
                engine.sips = 0
            engine.work.notify_all()
