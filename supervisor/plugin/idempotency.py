"""Around a handler: each key is worked once, whoever delivers its record again (``[groups.X.idempotency]``).

Claim, work, done. A claim is a lease: it is renewed while the handler works, and ends by itself when its process
died. What a handler returned to be produced is confirmed before its key is done.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar, cast

from supervisor.plugin.errors import DependencyDownError, KeyBusyError
from supervisor.plugin.types import Claim, Record

logger = logging.getLogger(__name__)
WORK: Any = object()
"""The outcome so far of a record that is to be worked."""
MARK_AGAIN = 0.5
"""Seconds between two tries to tell a store that is down what is done."""
MOST_THREADS = 4
"""Threads that renew and tell; there is more than one only once the store hung in all that there were."""
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

    __slots__ = ("is_renewing", "keys", "known", "renewed_at", "token")

    def __init__(self, token: str) -> None:
        self.token = token
        self.keys: dict[int, str] = {}
        self.known: dict[int, BaseException | None] = {}
        self.renewed_at = 0.0
        self.is_renewing = False


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
    """The claims of one worker, and a thread that renews them. Methods are called by handlers' threads and block.

    A store should answer in time; one that hangs keeps its thread for as long. What it holds up is told by ``hanging``.
    """

    def __init__(self, store: Store, key_of: Callable[[Record], str | None], *, ttl: float, lease: float) -> None:
        self.duplicates = 0
        """Records that were not worked because their key was done."""
        self.skipped: Callable[[Record, str], None] = lambda _record, _store: None
        """Called with each of them, and the name of the store, in its handler's thread or beside its loop."""
        self.hangs = False
        """Whether the store hung at the last look, see ``hanging``."""
        self._store, self._key_of = store, key_of
        self._ttl, self._lease = ttl, lease
        self._tokens = (f"{os.urandom(8).hex()}-{number}" for number in count())
        self._changed = threading.Condition()
        self._held: dict[str, Turn] = {}
        self._unmarked: dict[str, list[Then]] = {}
        """Keys that are done and that the store could not be told of yet."""
        self._unreleased: list[tuple[str, str]] = []
        """Keys to give back, and the tokens that claimed them."""
        self._is_marking = self._is_releasing = False
        """Whether a thread is telling the store so; a second one would hang as the first does."""
        self._mark_at = 0.0
        self._calls: dict[int, tuple[str, float]] = {}
        """What each thread asks the store now, and since when."""
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def turn(self) -> Turn:
        """Return what one call of a handler begins with."""
        with self._changed:
            if not self._threads:
                self._hire()
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
        with self._changed:
            self._unmarked.setdefault(key, []).append(then)
            self._changed.notify()
        self._forget(turn, [key])

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
            self._changed.notify_all()
        deadline = time.monotonic() + MARK_AGAIN
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def store(self) -> str:
        """The name of the plugin that is the store."""
        return self._store.name

    def hanging(self) -> tuple[str, float] | None:
        """Return which hook of the store has not returned for a third of a lease or longer, and for how many seconds.

        Somebody must look now and then: when the store hangs in every thread that renews, another one is hired, so
        that the leases of what is worked meanwhile do not end.
        """
        now = time.monotonic()
        late = {thread: call for thread, call in self._calls.copy().items() if now - call[1] >= self._lease / 3}
        self.hangs = bool(late)
        if not late:
            return None
        with self._changed:
            if len(self._threads) < MOST_THREADS and all(one.ident in late for one in self._threads):
                self._hire()
        hook, since = min(late.values(), key=lambda call: call[1])
        return hook, now - since

    def _claim(self, turn: Turn, wanted: Mapping[str, int]) -> None:
        turn.renewed_at = time.monotonic()
        keys = sorted(wanted)  # two that claim the same keys do not wait for each other crosswise
        try:
            answers = [Claim(one) for one in self._ask_claim(keys, turn.token)]
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
            self._ask("release", self._store.release, keys, token)
        except BaseException as error:  # noqa: BLE001 - a plugin, and what it talks to
            logger.info("idempotency.not_released", extra={"fields": {"error": type(error).__name__}})

    def _mark(self, keys: Sequence[str]) -> None:
        """Tell the store what is done; raise ``DependencyDownError`` when it cannot be told."""
        if not keys:
            return
        try:
            self._ask("done", self._store.done, keys, self._ttl)
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

    def _ask(self, hook: str, call: Callable[..., object], *args: object) -> object:
        """Call a hook of the store, and have it known for how long."""
        thread = threading.get_ident()
        self._calls[thread] = (hook, time.monotonic())
        try:
            return call(*args)
        finally:
            del self._calls[thread]

    def _ask_claim(self, keys: Sequence[str], token: str) -> Sequence[Claim]:
        return cast("Sequence[Claim]", self._ask("claim", self._store.claim, keys, token, self._lease))

    def _hire(self) -> None:
        """Start a thread that renews and tells; ``_changed`` held."""
        thread = threading.Thread(target=self._serve, name="idempotency", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        """Renew, mark and release, until closed. A thread of its own."""
        while (task := self._next()) is not None:
            task()

    def _next(self) -> Then | None:
        """Wait for something to do, and return it; ``None`` is the end."""
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                for turn in self._held.values():
                    if turn.renewed_at <= now - self._lease / 3 and not turn.is_renewing:
                        turn.renewed_at, turn.is_renewing = now, True
                        return partial(self._renew, turn)
                if self._unreleased and not self._is_releasing:
                    unreleased, self._unreleased, self._is_releasing = self._unreleased, [], True
                    return partial(self._release_all, unreleased)
                is_unmarked = bool(self._unmarked) and not self._is_marking
                if is_unmarked and self._mark_at <= now:
                    self._is_marking = True
                    return partial(self._mark_all, list(self._unmarked))
                self._changed.wait(min(self._lease / 3, self._mark_at - now) if is_unmarked else self._lease / 3)
        return None

    def _mark_all(self, keys: Sequence[str]) -> None:
        try:
            self._mark(keys)
        except DependencyDownError:
            self._mark_at = time.monotonic() + MARK_AGAIN
        finally:
            self._is_marking = False

    def _release_all(self, claims: Sequence[tuple[str, str]]) -> None:
        for key, token in claims:
            self._release([key], token)
        self._is_releasing = False

    def _renew(self, turn: Turn) -> None:
        keys = sorted(turn.keys.values())
        try:
            answers = list(self._ask_claim(keys, turn.token)) if keys else []
        except BaseException as error:  # noqa: BLE001 - a plugin, and what it talks to
            logger.warning("idempotency.not_renewed", extra={"fields": {"error": type(error).__name__}})
            return
        finally:
            turn.is_renewing = False
        with self._changed:
            kept = {*turn.keys.values(), *self._unmarked}
        gone = [key for key, one in zip(keys, answers, strict=False) if one == Claim.MINE and key not in kept]
        if gone:  # they were given back while the store was asked
            self._release(gone, turn.token)
        lost = [one for one in answers if one != Claim.MINE]
        if lost and turn.keys:
            logger.warning("idempotency.lease_lost", extra={"fields": {"keys": len(lost)}})


def _is_nothing(answer: object) -> bool:
    """Tell whether a handler returned nothing to be produced."""
    return answer is None or (isinstance(answer, list | tuple) and not answer)
