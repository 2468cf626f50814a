"""Around a handler: each key is worked once, whoever delivers its record again (``[groups.X.idempotency]``).

Claim, work, done. A claim is a lease: it is renewed while the handler works, and ends by itself when its process
died. What a handler returned to be produced is confirmed before its key is done.
"""

import logging
import os
import threading
import time
from asyncio import CancelledError, get_running_loop, shield, to_thread
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar, cast

from supervisor.plugin.decoding import Process, ProcessBatch, merged
from supervisor.plugin.errors import DependencyDownError, KeyBusyError
from supervisor.plugin.signatures import is_async
from supervisor.plugin.types import Claim, Record

logger = logging.getLogger(__name__)
WORK: Any = object()
"""The outcome so far of a record that is to be worked."""
MARK_AGAIN = 0.5
"""Seconds between two tries to tell a store that is down what is done."""
Then = Callable[[], None]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Store:
    """The hooks of the plugin that ``store`` names."""

    name: str
    claim: Callable[[Sequence[str], str, float], object]
    done: Callable[[Sequence[str], float], object]
    release: Callable[[Sequence[str], str], object]


class Turn:
    """One call of a handler: the keys claimed for it, and what is known already of each of its records."""

    __slots__ = ("keys", "known", "renewed_at", "token")

    def __init__(self, token: str) -> None:
        self.token = token
        self.keys: dict[int, str] = {}
        self.known: dict[int, BaseException | None] = {}
        self.renewed_at = 0.0


class Unconfirmed:
    """What a handler returned to be produced; its key is done once that is confirmed."""

    __slots__ = ("_guard", "_key", "_turn", "outputs")

    def __init__(self, guard: "Guard", turn: Turn, key: str, outputs: object) -> None:
        self.outputs = outputs
        self._guard, self._turn, self._key = guard, turn, key

    def confirmed(self, then: Then) -> None:
        """Call ``then`` once the store knows that the key is done; any thread, does not block."""
        self._guard.mark_later(self._turn, self._key, then)

    def refused(self) -> None:
        """Let the key go: its outputs will never be produced, or belong to somebody else now. Does not block."""
        self._guard.release_later(self._turn, self._key)


class Guard:
    """The claims of one worker, and a thread that renews them. Methods are called by handlers' threads and block."""

    def __init__(self, store: Store, key_of: Callable[[Record], str | None], *, ttl: float, lease: float) -> None:
        self.duplicates = 0
        """Records that were not worked because their key was done."""
        self.skipped: Callable[[Record, str], None] = lambda _record, _store: None
        """Called with each of them, and the name of the store, in its handler's thread or beside its loop."""
        self._store, self._key_of = store, key_of
        self._ttl, self._lease = ttl, lease
        self._tokens = (f"{os.urandom(8).hex()}-{number}" for number in count())
        self._changed = threading.Condition()
        self._held: dict[str, Turn] = {}
        self._unmarked: dict[str, list[Then]] = {}
        """Keys that are done and that the store could not be told of yet."""
        self._unreleased: list[tuple[str, str]] = []
        """Keys to give back, and the tokens that claimed them."""
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def turn(self) -> Turn:
        """Return what one call of a handler begins with."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="idempotency", daemon=True)
                self._thread.start()
            return Turn(next(self._tokens))

    def begin(self, turn: Turn, records: Sequence[Record]) -> None:
        """Claim what of these records may be worked; ``turn.known`` has all others. Raises when the store is down."""
        wanted: dict[str, int] = {}
        for at, record in enumerate(records):
            try:
                key = self._key_of(record)
            except BaseException as error:  # noqa: BLE001 - user code: its record's failure
                turn.known[at] = error
                continue
            if key is None:
                continue
            if key in wanted:
                turn.known[at] = KeyBusyError("its key is in the same batch")
            elif key in self._unmarked:
                self._mark([key])
                turn.known[at] = None
            else:
                wanted[key] = at
        if wanted:
            self._claim(turn, wanted)
            for at in wanted.values():
                if turn.known.get(at, turn) is None:
                    self.skipped(records[at], self._store.name)

    def end(self, turn: Turn, answers: Sequence[object]) -> list[object]:
        """Say what is done of a turn's records; ``answers`` are the handler's. Return the outcome of each."""
        outcomes = list(answers)
        done = [key for at, key in turn.keys.items() if _is_nothing(answers[at])]
        failed = [key for at, key in turn.keys.items() if isinstance(answers[at], BaseException)]
        if failed:
            self.release(turn, failed)
        try:
            self._mark(done)
        except DependencyDownError as error:
            with self._changed:
                for key in done:
                    self._unmarked.setdefault(key, [])  # whoever waits for it goes on waiting
            outcomes = [error if _is_nothing(one) and at in turn.keys else one for at, one in enumerate(outcomes)]
        for at, key in turn.keys.items():
            if key not in done and key not in failed:
                outcomes[at] = Unconfirmed(self, turn, key, answers[at])
        self._forget(turn, [*done, *failed])
        return outcomes

    def release(self, turn: Turn, keys: Sequence[str] | None = None) -> None:
        """Give back what a turn claimed: ``keys``, or all of it. Never raises: a lease ends by itself."""
        keys = list(turn.keys.values()) if keys is None else keys
        self._forget(turn, keys)
        if keys:
            self._release(keys, turn.token)

    def mark_later(self, turn: Turn, key: str, then: Then) -> None:
        """Have the thread say that a key is done, and call ``then``."""
        self._forget(turn, [key])
        with self._changed:
            self._unmarked.setdefault(key, []).append(then)
            self._changed.notify()

    def release_later(self, turn: Turn, key: str) -> None:
        """Have the thread give a key back."""
        self._forget(turn, [key])
        with self._changed:
            self._unreleased.append((key, turn.token))
            self._changed.notify()

    def close(self) -> None:
        """End the thread; what it could not tell the store is left to the leases."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(MARK_AGAIN)

    def _claim(self, turn: Turn, wanted: Mapping[str, int]) -> None:
        turn.renewed_at = time.monotonic()
        keys = sorted(wanted)  # two that claim the same keys do not wait for each other crosswise
        try:
            answers = [Claim(one) for one in cast("Sequence[Claim]", self._store.claim(keys, turn.token, self._lease))]
            claims = dict(zip(keys, answers, strict=True))
        except Exception as error:
            raise self._down() from error
        for key, at in wanted.items():
            match claims[key]:
                case Claim.MINE:
                    turn.keys[at] = key
                case Claim.BUSY:
                    turn.known[at] = KeyBusyError("somebody else works a record with its key")
                case Claim.DONE:
                    turn.known[at] = None
        with self._changed:
            self.duplicates += sum(one is Claim.DONE for one in answers)
            if turn.keys:
                self._held[turn.token] = turn

    def _release(self, keys: Sequence[str], token: str) -> None:
        try:
            self._store.release(keys, token)
        except BaseException as error:  # noqa: BLE001 - a plugin, and what it talks to
            logger.info("idempotency.not_released", extra={"fields": {"error": type(error).__name__}})

    def _mark(self, keys: Sequence[str]) -> None:
        """Tell the store what is done; raise ``DependencyDownError`` when it cannot be told."""
        if not keys:
            return
        try:
            self._store.done(keys, self._ttl)
        except BaseException as error:  # a plugin: whatever it raises, the thread that renews must live
            raise self._down() from error
        with self._changed:
            then = [one for key in keys for one in self._unmarked.pop(key, ())]
        for one in then:
            one()

    def _down(self) -> DependencyDownError:
        return DependencyDownError(dependency=self._store.name)

    def _forget(self, turn: Turn, keys: Sequence[str]) -> None:
        with self._changed:
            turn.keys = {at: key for at, key in turn.keys.items() if key not in keys}
            if not turn.keys:
                self._held.pop(turn.token, None)

    def _serve(self) -> None:
        """Renew and mark, until closed. A thread of its own."""
        wait = self._lease / 3
        while True:
            with self._changed:
                if not (self._unmarked or self._unreleased) or wait == MARK_AGAIN:
                    self._changed.wait(wait)
                if self._is_closed:
                    return
                keys, unreleased = list(self._unmarked), self._unreleased
                self._unreleased = []
                since = time.monotonic() - self._lease / 3
                late = [turn for turn in self._held.values() if turn.renewed_at <= since]
            try:
                wait = self._lease / 3
                self._mark(keys)
            except DependencyDownError:
                wait = MARK_AGAIN
            for key, token in unreleased:
                self._release([key], token)
            for turn in late:
                self._renew(turn)

    def _renew(self, turn: Turn) -> None:
        turn.renewed_at = time.monotonic()
        keys = sorted(turn.keys.values())
        try:
            answers = list(cast("Sequence[Claim]", self._store.claim(keys, turn.token, self._lease))) if keys else []
        except BaseException as error:  # noqa: BLE001 - a plugin, and what it talks to
            logger.warning("idempotency.not_renewed", extra={"fields": {"error": type(error).__name__}})
            return
        lost = [one for one in answers if one != Claim.MINE]
        if lost and turn.keys:
            logger.warning("idempotency.lease_lost", extra={"fields": {"keys": len(lost)}})


def _is_nothing(answer: object) -> bool:
    """Tell whether a handler returned nothing to be produced."""
    return answer is None or (isinstance(answer, list | tuple) and not answer)


def guarding(process: Process, guard: Guard) -> Process:
    """Return ``process`` called only for records whose key is not done yet; ``async`` if it is."""

    def call(record: Record) -> object:
        turn = guard.turn()
        guard.begin(turn, (record,))
        if turn.known:
            return _only([turn.known[0]])
        try:
            answer = process(record)
        except BaseException:
            guard.release(turn)
            raise
        return _only(guard.end(turn, (_answer(answer),)))

    async def call_async(record: Record) -> object:
        turn = guard.turn()
        await _aside(guard, turn, guard.begin, (record,))
        if turn.known:
            return _only([turn.known[0]])
        try:
            answer = await cast("Awaitable[object]", process(record))
        except BaseException:
            await to_thread(guard.release, turn)
            raise
        return _only(await _aside(guard, turn, guard.end, (_answer(answer),)))

    return call_async if is_async(process) else call


def guarding_batch(process: ProcessBatch, guard: Guard) -> ProcessBatch:
    """Return ``process`` called with those of a batch whose keys are not done yet."""

    def call(records: Sequence[Record]) -> object:
        turn = guard.turn()
        guard.begin(turn, records)
        seen = _unknown(turn, records)
        try:
            answer = process(seen) if seen else None
        except BaseException:
            guard.release(turn)
            raise
        return guard.end(turn, merged(len(records), turn.known, answer))

    async def call_async(records: Sequence[Record]) -> object:
        turn = guard.turn()
        await _aside(guard, turn, guard.begin, records)
        seen = _unknown(turn, records)
        try:
            answer = await cast("Awaitable[object]", process(seen)) if seen else None
        except BaseException:
            await to_thread(guard.release, turn)
            raise
        return await _aside(guard, turn, guard.end, merged(len(records), turn.known, answer))

    return call_async if is_async(process) else call


async def _aside(guard: Guard, turn: Turn, function: Callable[..., Answer], *args: object) -> Answer:
    """Call one of the guard's own in a thread; when this is cancelled meanwhile, nothing stays claimed."""
    loop = get_running_loop()
    future = loop.run_in_executor(None, function, turn, *args)

    def give_back(_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: so will the leases
            loop.run_in_executor(None, guard.release, turn)

    try:
        return await shield(future)
    except CancelledError:
        future.add_done_callback(give_back)
        raise


def _unknown(turn: Turn, records: Sequence[Record]) -> Sequence[Record]:
    return [record for at, record in enumerate(records) if at not in turn.known] if turn.known else records


class _Odd:
    """An exception that a handler of single records returned: no outcome, and nothing to be produced."""


def _answer(answer: object) -> object:
    return _Odd() if isinstance(answer, BaseException) else answer


def _only(outcomes: Sequence[object]) -> object:
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
