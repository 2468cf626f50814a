"""One thread per alert plugin, so that a slow or hanging one delays only itself."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.core.backoff import Backoff
from supervisor.core.events import Event
from supervisor.plugin.errors import TryAgainError

CAPACITY = 1000
CALL_TIMEOUT = 30.0
MAX_STUCK = 3
MAX_REASON = 500
AGAIN = Backoff(initial=5.0, factor=2.0, max=60.0, jitter=0.0)
AGAIN_FOR = 900.0
"""Seconds after the first call of an event until it is given up, while nobody can be reached."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Failed:
    """An event that a plugin did not take."""

    plugin: str
    event: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the events of a plugin; ``queued`` are those that wait, one to be tried again included."""

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    queued: int = 0


@dataclass(slots=True)
class _Call:
    """A call under way, or over; ``given_up`` when its deadline passed first.

    Of an event that is tried again: ``first`` is when it was called first, ``tries`` how often it failed.
    """

    event: Event
    began: float
    first: float
    tries: int = 0
    given_up: bool = False


class Courier:
    """Offer events to one plugin, in order, on a thread of its own; ``on_failed`` is told of each that it did not take.

    A call over ``CALL_TIMEOUT`` is given up: its thread cannot be ended, so it is left behind and the next
    event goes out on a new one, until ``MAX_STUCK`` are stuck; from then on events wait until one comes
    back, and the oldest are dropped when ``CAPACITY`` are waiting. An event that raised ``TryAgainError`` is called
    again until ``AGAIN_FOR`` is over, before all others: who cannot be reached would not take those either, and the
    end of a condition must not overtake its beginning.
    """

    def __init__(
        self,
        name: str,
        alert: Callable[[Event], object],
        on_failed: Callable[[Failed], None],
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self._alert = alert
        self._on_failed = on_failed
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._calls: list[_Call] = []
        self._again: _Call | None = None
        self._delivered = self._failed = self._dropped = 0
        self._serving = 0
        self._stopping = self._hurries = False
        self._serve()

    def offer(self, event: Event) -> None:
        """Queue an event; never blocks."""
        with self._changed:
            if len(self._waiting) == CAPACITY:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(event)
            self._changed.notify()

    def check(self) -> None:
        """Give up calls over their deadline; to be called now and then, from any thread."""
        late = []
        with self._changed:
            for call in self._calls:
                if not call.given_up and self._clock() - call.began >= CALL_TIMEOUT:
                    call.given_up = True
                    self._failed += 1
                    self._serving -= 1
                    late.append(call)
                    if sum(stuck.given_up for stuck in self._calls) < MAX_STUCK:
                        self._serve()
                    self._changed.notify_all()
            if self._is_due():
                self._changed.notify()
        for call in late:
            self._on_failed(Failed(self.name, call.event.name, f"no answer within {CALL_TIMEOUT:g} s"))

    def counts(self) -> Counts:
        """Return the counters as they are."""
        with self._changed:
            queued = len(self._waiting) + (self._again is not None)
            return Counts(self._delivered, self._failed, self._dropped, queued)

    def stop(self, deadline: float) -> bool:
        """Wait until all events are out, or the clock says ``deadline``; return whether they are.

        What waits to be tried again is, once, without waiting longer.
        """
        with self._changed:
            self._hurries = True
            self._changed.notify_all()
            idle = self._changed.wait_for(self._is_idle, max(0.0, deadline - self._clock()))
            self._stopping = True
            self._changed.notify_all()
        return idle

    def _is_idle(self) -> bool:
        return not self._waiting and self._again is None and all(call.given_up for call in self._calls)

    def _is_due(self) -> bool:
        """Tell whether there is an event to call the plugin with now."""
        if self._again is None:
            return bool(self._waiting)
        return self._hurries or self._clock() >= self._again.began

    def _next(self) -> _Call:
        now, again = self._clock(), self._again
        if again is None:
            return _Call(self._waiting.popleft(), now, now)
        self._again = None
        again.began = now
        return again

    def _serve(self) -> None:
        self._serving += 1
        threading.Thread(target=self._run, name=f"alert {self.name}", daemon=True).start()

    def _run(self) -> None:
        call: _Call | None = None
        while True:
            with self._changed:
                if call is not None:
                    self._calls.remove(call)
                    self._changed.notify_all()
                    if call.given_up and self._serving:
                        return  # another thread has taken over
                    self._serving += call.given_up
                self._changed.wait_for(lambda: self._is_due() or self._stopping)
                if self._stopping:
                    return
                call = self._next()
                self._calls.append(call)
            self._deliver(call)

    def _deliver(self, call: _Call) -> None:
        reason, may_again = "", False
        try:
            self._alert(call.event)
        except BaseException as error:  # noqa: BLE001 - user plugin: it must not end its thread, sys.exit() included
            reason = f"{type(error).__name__}: {error}"[:MAX_REASON]
            may_again = isinstance(error, TryAgainError)
        with self._changed:
            if call.given_up:
                return
            now, call.tries = self._clock(), call.tries + bool(reason)
            again = may_again and not self._hurries and now - call.first < AGAIN_FOR
            if again:
                # A new one: this is still among the calls, for its thread to take out.
                due = now + AGAIN.delay(call.tries - 1, chance=0.0)
                self._again = _Call(call.event, due, call.first, call.tries)
            elif reason:
                self._failed += 1
            else:
                self._delivered += 1
        if reason and (call.tries == 1 or not again):
            self._on_failed(Failed(self.name, call.event.name, reason + ("; is tried again" if again else "")))
