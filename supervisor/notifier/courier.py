"""One thread per alert plugin, so that a slow or hanging one delays only itself."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.core.events import Event

CAPACITY = 1000
CALL_TIMEOUT = 30.0
MAX_STUCK = 3
MAX_REASON = 500

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Failed:
    """An event that a plugin did not take."""

    plugin: str
    event: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the events of a plugin."""

    delivered: int
    failed: int
    dropped: int
    queued: int


@dataclass(slots=True)
class _Call:
    """A call under way, or over; ``given_up`` when its deadline passed first."""

    event: Event
    began: float
    given_up: bool = False


class Courier:
    """Offer events to one plugin, in order, on a thread of its own; ``on_failed`` is told of each that it did not take.

    A call over ``CALL_TIMEOUT`` is given up: its thread cannot be ended, so it is left behind and the next
    event goes out on a new one, until ``MAX_STUCK`` are stuck; from then on events wait until one comes
    back, and the oldest are dropped when ``CAPACITY`` are waiting.
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
        self._delivered = self._failed = self._dropped = 0
        self._serving = 0
        self._stopping = False
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
        for call in late:
            self._on_failed(Failed(self.name, call.event.name, f"no answer within {CALL_TIMEOUT:g} s"))

    def counts(self) -> Counts:
        """Return the counters as they are."""
        with self._changed:
            return Counts(self._delivered, self._failed, self._dropped, len(self._waiting))

    def stop(self, deadline: float) -> bool:
        """Wait until all events are out, or the clock says ``deadline``; return whether they are."""
        with self._changed:
            idle = self._changed.wait_for(self._is_idle, max(0.0, deadline - self._clock()))
            self._stopping = True
            self._changed.notify_all()
        return idle

    def _is_idle(self) -> bool:
        return not self._waiting and all(call.given_up for call in self._calls)

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
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                call = _Call(self._waiting.popleft(), self._clock())
                self._calls.append(call)
            self._deliver(call)

    def _deliver(self, call: _Call) -> None:
        reason = ""
        try:
            self._alert(call.event)
        except BaseException as error:  # noqa: BLE001 - user plugin: it must not end its thread, sys.exit() included
            reason = f"{type(error).__name__}: {error}"[:MAX_REASON]
        with self._changed:
            if call.given_up:
                return
            if reason:
                self._failed += 1
            else:
                self._delivered += 1
        if reason:
            self._on_failed(Failed(self.name, call.event.name, reason))
