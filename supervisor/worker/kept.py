"""Outputs and dead letters that stay with their records until a transaction takes them (exactly-once)."""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future

from supervisor.plugin.types import Failure, Message, Produce
from supervisor.worker.engine import Owned, Place
from supervisor.worker.outlet import Refusals, outputs_of, size_of
from supervisor.worker.prefixes import Held
from supervisor.worker.sinks import Taken


class Kept:
    """The outlet's half of ``Transactions``; ``ask`` is called when ``enough`` records are held."""

    def __init__(self, enough: int, look_up: Callable[[str], None], ask: Callable[[], None]) -> None:
        self._enough = enough
        self._look_up = look_up
        self._ask_for_one = ask
        self._refusals: Refusals | None = None
        self._lock = threading.Lock()
        self._is_asked = False
        self.held = 0
        self.size = 0

    def connect(self, refusals: Refusals) -> None:
        """See ``Outlet``."""
        self._refusals = refusals

    def send(self, owned: Owned, message: Message, answer: object) -> None:
        """See ``Outlet``."""
        outputs = outputs_of(answer)
        if outputs:
            self._hold(owned, Held(message, outputs, size_of(message, outputs)))

    def letter(self, owned: Owned, message: Message, taken: Taken) -> "Future[None] | None":
        """See ``Outlet``; its record counts as settled at once, and is committed only together with it."""
        self._look_up(taken.outputs[0].topic)
        self._hold(owned, Held(message, taken.outputs, size_of(message, taken.outputs), taken))
        return None

    def copy(self, owned: Owned, message: Message, copy: Produce, failure: Failure) -> "Future[None] | None":
        """See ``Outlet``; in one transaction with its record's offset."""
        self._look_up(copy.topic)
        self._hold(owned, Held(message, (copy,), size_of(message, (copy,)), failure=failure))
        return None

    def may_wait(self, answer: object) -> bool:
        """See ``Outlet``; a thread of its own produces them."""
        del answer
        return False

    def held_of(self, owned: Owned, offsets: Sequence[int]) -> list[int]:
        """See ``Outlet``."""
        del owned, offsets
        return []

    def is_waited_for(self, places: Collection[Place]) -> bool:
        """See ``Outlet``."""
        del places
        return False

    def collect(self) -> None:
        """See ``Outlet``."""

    def _hold(self, owned: Owned, held: Held) -> None:
        with self._lock:
            if owned.revoked:
                return  # too late: it will be delivered again, here or elsewhere
            owned.outputs[held.message.offset() or 0] = held
            self.held += 1
            self.size += held.size
            ask = self.held >= self._enough and not self._is_asked
        if ask:
            self._ask_for_one()

    def drop(self, owned: Owned) -> None:
        """See ``Outlet``."""
        self._let_go(owned, list(owned.outputs))

    def _let_go(self, owned: Owned, offsets: Iterable[int]) -> None:
        with self._lock:
            for offset in offsets:
                held = owned.outputs.pop(offset, None)
                if isinstance(held, Held):
                    self.held -= 1
                    self.size -= held.size
