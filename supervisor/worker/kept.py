"""Outputs and dead letters that stay with their records until a transaction takes them (exactly-once).

And what takes the place of those that the brokers refuse: a dead letter; for a letter a shorter one, or another sink's.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from supervisor.core.lane import Place
from supervisor.core.letters import shorter
from supervisor.kafka.outputs import RefusedOutputError
from supervisor.kafka.refusals import TOO_LARGE
from supervisor.plugin.types import Failure, Message, Produce
from supervisor.worker.engine import Engine
from supervisor.worker.outlet import Refusals, outputs_of, size_of
from supervisor.worker.owned import Owned
from supervisor.worker.prefixes import Held, Prefix, Standing
from supervisor.worker.sinks import Taken, UnwrittenError


class Kept:
    """The outlet of a worker that delivers exactly once; calls ``ask`` for a transaction while it holds many records.

    ``look_up``: hears of each topic before a transaction has to write to it.
    """

    def __init__(self, engine: Engine, look_up: Callable[[str], None], ask: Callable[[], None]) -> None:
        self._engine = engine
        self._enough = max(1, engine.spec.group.queue_records // 4)
        self._look_up = look_up
        self._ask = ask
        self._refusals: Refusals | None = None
        self._lock = threading.Lock()
        self.standing = Standing()
        """Where partitions stand because of a letter that nobody takes; needs the engine's mutex."""
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
            is_much = self.held >= self._enough
        if is_much:
            self._ask()

    def drop(self, owned: Owned) -> None:
        """See ``Outlet``."""
        self.let_go(owned, list(owned.outputs))

    # --- what became of them ------------------------------------------------------------------------------

    def let_go(self, owned: Owned, offsets: Iterable[int]) -> None:
        """Forget what these records were to produce: it is produced, or never will be."""
        with self._lock:
            for offset in offsets:
                held = owned.outputs.pop(offset, None)
                if isinstance(held, Held):
                    self.held -= 1
                    self.size -= held.size

    def confirm(self, prefixes: Sequence[Prefix]) -> None:
        """Tell of the dead letters in a transaction that was committed; mutex not held."""
        assert self._refusals is not None  # noqa: S101 - connect() comes first
        for prefix in prefixes:
            for _, held in prefix.held:
                if held.taken is not None:
                    self._refusals.confirmed(held.taken)

    def replace(self, owned: Owned, offset: int, held: Held, *, code: str) -> None:
        """Put a dead letter in the place of outputs that will never be taken; in a letter's, a shorter one or nothing.

        Nothing, once another sink has it. The record whose letter nobody takes is left out of transactions for a
        while, and what is behind it. Mutex not held.
        """
        assert self._refusals is not None  # noqa: S101 - connect() comes first
        taken = held.taken
        if taken is not None and code in TOO_LARGE:
            fewer = shorter(tuple(held.outputs[0].headers), self._engine.spec.group.dead_letters.headers)
            if fewer is not None:
                held.outputs = (replace(held.outputs[0], headers=fewer),)
                return
        try:
            if taken is None:
                error = RefusedOutputError(code, held.outputs[0].topic)
                held.taken = self._refusals.instead(held.message, error, held.failure)
            else:
                held.taken = self._refusals.elsewhere(taken, code)
            held.outputs = held.taken.outputs
        except UnwrittenError as error:
            if taken is not None:
                held.outputs = taken.outputs  # all of it again: its topic may take more by then
            chance = random.random()  # noqa: S311 - jitter
            with self._engine.mutex:
                is_first = self.standing.add(owned, offset, now=time.monotonic(), chance=chance)
            if is_first:
                self._refusals.unwritten(error)

    def replace_letters(self, waiting: Sequence[Any], code: str) -> bool:
        """Take letters out of the way whose topic answers nothing (too few replicas) while all the rest is taken.

        ``waiting``: what nobody took, as arguments of ``replace``. Returns whether it was letters, and nothing else.
        """
        if not waiting or not all(held.taken is not None for _, _, held in waiting):
            return False
        for owned, offset, held in waiting:
            self.replace(owned, offset, held, code=code)
        return True
