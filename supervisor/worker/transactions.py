"""``delivery = "exactly-once"``: outputs, dead letters and offsets in one short transaction at a time.

Outputs stay with their record until its offset is committable; a transaction is the finished prefix of every
partition. It is open for milliseconds whatever handlers do. Aborted means: the same prefix again. A thread of its
own runs it, so that nobody who polls or works ever waits for the brokers, but a revoke.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from operator import itemgetter

from supervisor.core.backoff import Backoff
from supervisor.core.board import H_TICK_NS
from supervisor.core.commits import Answer, answer
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.letters import without_story
from supervisor.kafka.consumer import Source
from supervisor.kafka.outputs import RefusedOutputError
from supervisor.kafka.transactions import AbortedError, CrowdedError, FatalError, RefusedError, TransactionalProducer
from supervisor.plugin.types import Message, Produce
from supervisor.worker.engine import Engine, Owned, Place
from supervisor.worker.notes import Notes
from supervisor.worker.outlet import Refusals, outputs_of, size_of

logger = logging.getLogger(__name__)
START_TIMEOUT = 10.0
METADATA_INTERVAL = 0.02
"""Seconds between looks at the consumer's generation (KIP-447), which only the baton's holder may ask for."""
RETRY = Backoff(initial=0.05, factor=2.0, max=5.0, jitter=0.5)
MOMENT = 0.05
REVOKE_PATIENCE = 5.0
TROUBLE = 5
"""Aborts in a row that people should know of."""
FEW = 100
"""Records with outputs in a transaction that looks for the one that is refused."""


@dataclass(slots=True)
class Held:
    """What one record is to produce once its offset is committable."""

    message: Message
    outputs: Sequence[Produce]
    size: int
    is_letter: bool = False


@dataclass(frozen=True, slots=True)
class Prefix:
    """What is finished of a partition: everything below ``upto``, with what is to be produced, by offset."""

    owned: Owned
    upto: int
    held: Sequence[tuple[int, Held]]


class Transactions:
    """The outlet and the commits of a worker that delivers exactly once."""

    def __init__(self, engine: Engine, producer: TransactionalProducer) -> None:
        self._engine = engine
        self._producer = producer
        self._refusals: Refusals | None = None
        self._changed = threading.Condition(engine.mutex)
        self._lock = threading.Lock()
        self._interval = engine.spec.group.commit.interval
        self._enough = max(1, engine.spec.group.queue_records // 4)
        self._urgent: set[Owned] = set()
        """Partitions to commit now: they are given up, or the worker ends."""
        self._last_code = ""
        self._careful = 0
        """Outputs to produce one by one, because one of them is refused and nobody knows which."""
        self._is_asked = False
        self._is_closed = False
        self._source: Source | None = None
        self._metadata: object = None
        self._metadata_at = 0.0
        self._committed_at = time.monotonic()
        self.held = 0
        self.size = 0
        self.notes = Notes(engine)
        """Off: what is settled above a committed offset was not produced yet, so it must be done again."""

    # --- Outlet -----------------------------------------------------------------------------------------

    def connect(self, refusals: Refusals) -> None:
        """See ``Outlet``."""
        self._refusals = refusals

    def send(self, owned: Owned, message: Message, answer: object) -> None:
        """See ``Outlet``."""
        outputs = outputs_of(answer)
        if outputs:
            self._hold(owned, Held(message, outputs, size_of(outputs)))

    def letter(self, owned: Owned, message: Message, letter: Produce) -> "Future[None] | None":
        """See ``Outlet``; its record counts as settled at once, and is committed only together with it."""
        self._producer.look_up(letter.topic)
        self._hold(owned, Held(message, (letter,), size_of((letter,)), is_letter=True))
        return None

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
            self._ask()

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

    def _ask(self) -> None:
        with self._changed:
            self._is_asked = True
            self._changed.notify_all()

    # --- Commits ----------------------------------------------------------------------------------------

    def open(self, source: Source) -> None:
        """See ``Commits``."""
        self._source = source
        threading.Thread(target=self._run, name="transactions", daemon=True).start()

    def begin(self, offsets: Sequence[tuple[Place, int]]) -> None:
        """See ``Commits``; a transaction does it, so that no older commit comes after a newer one."""
        with self._changed:
            for place, _ in offsets:
                owned = self._engine.owned.get(place)
                if owned is not None:
                    self._engine.dirty.add(owned)

    def pin(self, offsets: Mapping[Place, int]) -> None:
        """See ``Commits``."""
        self.begin(list(offsets.items()))

    def if_due(self) -> None:
        """See ``Commits``; looks at the group's generation, the thread does the rest."""
        now = time.monotonic()
        if now - self._metadata_at >= METADATA_INTERVAL and self._source is not None:
            self._metadata_at = now
            self._metadata = self._source.group_metadata()

    def last_of(self, partitions: Iterable[Owned]) -> Callable[[], None]:
        """See ``Commits``."""
        wanted = {owned: owned.offsets.committable() for owned in partitions}
        return lambda: self._commit_last({owned: upto for owned, upto in wanted.items() if upto is not None})

    def _commit_last(self, wanted: dict[Owned, int]) -> None:
        engine = self._engine
        self._metadata_at = 0.0
        self.if_due()
        deadline = time.monotonic() + REVOKE_PATIENCE
        with self._changed:
            self._urgent |= set(wanted)
            self._changed.notify_all()
            while time.monotonic() < deadline and engine.end is None:
                if all(owned.committed >= upto for owned, upto in wanted.items()):
                    break
                engine.board.words[H_TICK_NS] = time.monotonic_ns()
                self._changed.wait(MOMENT)
            self._urgent -= set(wanted)

    def rest(self, deadline: float, poll: Callable[[], None]) -> None:
        """See ``Commits``."""
        engine = self._engine
        while time.monotonic() < deadline and engine.end is None:
            with self._changed:
                left = {
                    owned for owned in engine.owned.values() if (owned.offsets.committable() or -1) > owned.committed
                }
                self._urgent = set(left)
                self._changed.notify_all()
            if not left:
                break
            poll()
            self.if_due()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def committed(self, results: Sequence[tuple[Place, int, str | None]]) -> None:
        """See ``Commits``; the consumer itself commits nothing here."""
        del results

    # --- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._start()
            failures = 0
            while self._await_work():
                failures = 0 if self._once() else failures + 1
                if failures == TROUBLE:
                    self._tell()
                if failures:
                    self._pause(RETRY.delay(failures - 1, chance=random.random()))  # noqa: S311 - jitter
        except FatalError as error:
            self._engine.fail(ExitCode.KAFKA_FATAL, str(error))
        except BaseException as error:  # noqa: BLE001 - crash-only: the engine itself failed
            self._engine.crash(error)

    def _tell(self) -> None:
        self._engine.event(
            "transactions.failing",
            Severity.CRITICAL,
            f"{TROUBLE} transactions in a row were aborted, the last for {self._last_code}; "
            "offsets stand still, nothing is lost; trying again",
            code=self._last_code,
        )

    def _start(self) -> None:
        """Fence the slot's dead incarnations and end what they left open, for as long as it takes."""
        failures = 0
        while not self._is_closed:
            try:
                self._producer.start(START_TIMEOUT)
            except AbortedError as error:
                logger.warning("transactions.waiting", extra={"fields": {"code": error.code}})
                self._pause(RETRY.delay(failures, chance=random.random()))  # noqa: S311 - jitter
                failures += 1
            else:
                return

    def _await_work(self) -> bool:
        """Wait until a transaction is due; false when it is over."""
        with self._changed:
            while not self._is_closed:
                left = self._committed_at + self._interval - time.monotonic()
                if self._urgent or self._is_asked or (left <= 0 and self._engine.dirty):
                    return True
                self._changed.wait(left if left > 0 else self._interval)
            return False

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._is_closed and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def _once(self) -> bool:
        """Commit what is finished now; return whether it worked."""
        engine = self._engine
        with self._changed:
            self._is_asked = False
            self._committed_at = time.monotonic()
            partitions = self._urgent | {owned for owned in engine.dirty if not owned.revoked}
            engine.dirty.clear()
            limit = FEW if self._careful else None
            prefixes = [prefix for owned in partitions if (prefix := _prefix(owned, limit)) is not None]
        if not prefixes:
            return True
        done = self._try(prefixes)
        with self._changed:
            if done:
                engine.counters.commits += 1
                for prefix in prefixes:
                    prefix.owned.committed = prefix.owned.sent = prefix.upto
                    self._let_go(prefix.owned, [offset for offset, _ in prefix.held])
                    if prefix.owned.outputs and not prefix.owned.revoked:
                        engine.dirty.add(prefix.owned)
            else:
                engine.dirty |= {prefix.owned for prefix in prefixes if not prefix.owned.revoked}
            self._changed.notify_all()
            engine.progress.notify_all()
        return done

    def _try(self, prefixes: Sequence[Prefix]) -> bool:
        outputs = [
            ((prefix.owned, offset, held), output)
            for prefix in prefixes
            for offset, held in prefix.held
            for output in held.outputs
        ]
        offsets = [(prefix.owned.place, prefix.upto) for prefix in prefixes]
        try:
            self._producer.run(outputs, offsets, self._metadata, one_by_one=self._careful > 0)
            self._careful = max(0, self._careful - len(outputs))
        except CrowdedError as error:
            self._careful = len(outputs)
            logger.warning("transaction.aborted", extra={"fields": {"code": error.code, "then": "one_by_one"}})
            return False
        except RefusedError as error:
            self._replace(*next(tag for tag, _ in outputs if tag == error.tag), code=error.code)
            return False
        except AbortedError as error:
            self._aborted(error.code)
            return False
        return True

    def _aborted(self, code: str) -> None:
        engine = self._engine
        self._last_code = code
        with engine.mutex:
            engine.commit_errors[code] = engine.commit_errors.get(code, 0) + 1
        what = answer(code)
        logger.warning("transaction.aborted", extra={"fields": {"code": code, "then": what.name.lower()}})
        match what:
            case Answer.FENCED:
                engine.fail(ExitCode.FENCED, f"transaction: {code}")
            case Answer.FATAL:
                engine.fail(ExitCode.KAFKA_FATAL, f"transaction: {code}")
            case Answer.CONFIG:
                engine.fail(ExitCode.CONFIG, f"transaction: {code}: not allowed")
            case _:
                self._metadata_at = 0.0

    def _replace(self, owned: Owned, offset: int, held: Held, *, code: str) -> None:
        """Put a dead letter in the place of outputs that will never be taken, or trim one that is too large."""
        if not held.is_letter:
            assert self._refusals is not None  # noqa: S101 - connect() comes first
            outputs = self._refusals.instead(held.message, RefusedOutputError(code, held.outputs[0].topic))
        else:
            outputs = [replace(one, headers=without_story(tuple(one.headers))) for one in held.outputs]
            if outputs == list(held.outputs):
                self._engine.event(
                    "dead_letter.unwritten",
                    Severity.CRITICAL,
                    f"the dead letter of {owned.place[0]}/{owned.partition}@{offset} is refused: {code}; "
                    "its partition waits, nothing is lost; trying again",
                    error=code,
                )
        held.outputs, held.is_letter = outputs, True


def _prefix(owned: Owned, limit: int | None) -> Prefix | None:
    """Return what is finished of a partition and not committed, at most ``limit`` records with outputs; mutex held."""
    upto = owned.offsets.committable()
    if upto is None or upto <= owned.committed:
        return None
    # list() is one step under the interpreter lock; handlers add to the dictionary meanwhile.
    ready = sorted(((at, held) for at, held in list(owned.outputs.items()) if at < upto), key=itemgetter(0))
    if limit is not None and len(ready) > limit:
        upto, ready = ready[limit][0], ready[:limit]
    return Prefix(owned, upto, [(offset, held) for offset, held in ready if isinstance(held, Held)])
