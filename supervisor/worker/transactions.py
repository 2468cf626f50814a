"""``delivery = "exactly-once"``: outputs, dead letters and offsets in one short transaction at a time.

Outputs stay with their record until its offset is committable; a transaction is the finished prefix of every
partition. It is open for milliseconds whatever handlers do. Aborted means: the same prefix again. A thread of its
own runs it, so that nobody who polls or works ever waits for the brokers, but a revoke.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from supervisor.core.backoff import Backoff
from supervisor.core.board import H_TICK_NS
from supervisor.core.commits import Answer, answer
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.lane import Place
from supervisor.kafka.consumer import Source
from supervisor.kafka.transactions import (
    FATAL,
    FENCED,
    LATE,
    AbortedError,
    CrowdedError,
    FatalError,
    RefusedError,
    TransactionalProducer,
)
from supervisor.worker.engine import Engine
from supervisor.worker.kept import Kept
from supervisor.worker.notes import Notes
from supervisor.worker.owned import Owned
from supervisor.worker.prefixes import Prefix, Result, prefix_of

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
"""Records with outputs in a transaction that looks for the one that is refused: each is flushed alone."""
FENCING_PATIENCE = 10.0
"""Seconds in which a fenced consumer hears of it: its successor has to join first, then it takes a heartbeat."""
HURRY = 0.2
"""Seconds between tries, at most, while a partition is given up."""


class Transactions:
    """The commits of a worker that delivers exactly once. ``kept`` is its outlet."""

    def __init__(self, engine: Engine, producer: TransactionalProducer) -> None:
        self._engine = engine
        self._producer = producer
        self.kept = Kept(engine, producer.look_up, self._ask)
        self._changed = threading.Condition(engine.mutex)
        self._interval = engine.spec.group.commit.interval
        self._urgent: set[Owned] = set()
        """Partitions to commit now: they are given up, or the worker ends."""
        self._is_asked = False
        """Whether a transaction is wanted now, of whatever is finished."""
        self._last_code = ""
        self._careful = 0
        """Outputs to produce one by one, because one of them is refused and nobody knows which."""
        self._most: int | None = None
        """Records with outputs in one transaction, after one that took too long."""
        self._is_closed = False
        self._is_hurried = False
        """Whether somebody waits until all that is settled is committed."""
        self._source: Source | None = None
        self._metadata: object = None
        self._metadata_at = 0.0
        self._committed_at = time.monotonic()
        self.notes = Notes(engine)
        """Off: what is settled above a committed offset was not produced yet, so it must be done again."""

    def _ask(self) -> None:
        if not self._is_asked:
            with self._changed:
                self._is_asked = True
                self._changed.notify_all()

    # --- Commits ----------------------------------------------------------------------------------------

    def open(self, source: Source) -> None:
        """See ``Commits``."""
        self._source = source
        self._engine.quarantine.commits = self
        threading.Thread(target=self._run, name="transactions", daemon=True).start()

    def begin(self, offsets: Sequence[tuple[Place, int]]) -> None:
        """See ``Commits``; a transaction does it, so that no older commit comes after a newer one."""
        if offsets:
            self._look_at_group()  # what was known before the join would speak for nobody, or for a fenced member
        else:
            self.if_due()
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
        if time.monotonic() - self._metadata_at >= METADATA_INTERVAL:
            self._look_at_group()

    def catch_up(self) -> bool:
        """See ``Commits``; what is finished is, in one transaction."""
        engine = self._engine
        finished = {owned for owned in engine.owned.values() if self._finished(owned) is not None}
        if not finished:
            return True
        engine.dirty |= finished
        self._is_hurried = self._is_asked = True
        self._changed.notify_all()
        return False

    def _look_at_group(self) -> None:
        self._metadata_at = time.monotonic()
        if self._source is not None:
            self._metadata = self._source.group_metadata()

    def last_of(self, partitions: Iterable[Owned]) -> Callable[[], None]:
        """See ``Commits``."""
        return partial(self._commit_last, set(partitions))

    def _commit_last(self, wanted: set[Owned]) -> None:
        engine = self._engine
        self._look_at_group()
        deadline = time.monotonic() + REVOKE_PATIENCE
        with self._changed:
            self._urgent |= wanted
            self._changed.notify_all()
            while self._urgent & wanted and time.monotonic() < deadline and engine.end is None:
                engine.board.words[H_TICK_NS] = time.monotonic_ns()
                self._changed.wait(MOMENT)
            self._urgent -= wanted

    def rest(self, deadline: float, poll: Callable[[], None]) -> None:
        """See ``Commits``."""
        engine = self._engine
        while time.monotonic() < deadline and engine.end is None:
            with self._changed:
                left = {owned for owned in engine.owned.values() if self._finished(owned) is not None}
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
            if error.code in {FENCED, FATAL}:
                self._await_fencing()
            refused = answer(error.code) is Answer.CONFIG
            self._engine.fail(ExitCode.CONFIG if refused else ExitCode.KAFKA_FATAL, str(error))
        except BaseException as error:  # noqa: BLE001 - crash-only: the engine itself failed
            self._engine.crash(error)

    def _await_fencing(self) -> None:
        """Give the consumer time to hear that another process has our name, which is an end of its own kind.

        A producer that was too slow for its transaction's timeout is told the same as one that has a successor, and
        from the second call on either is told that it is dead, without a reason.
        """
        deadline = time.monotonic() + FENCING_PATIENCE
        with self._changed:
            while self._engine.end is None and time.monotonic() < deadline:
                self._changed.wait(MOMENT)

    def _tell(self) -> None:
        self._engine.event(
            "transactions.failing",
            Severity.CRITICAL,
            f"{TROUBLE} transactions in a row failed, the last for {self._last_code}; "
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
                self._last_code = error.code
                self._pause(RETRY.delay(failures, chance=random.random()))  # noqa: S311 - jitter
                failures += 1
                if failures == TROUBLE:
                    self._tell()
            else:
                return

    def _await_work(self) -> bool:
        """Wait until a transaction is due; false when it is over."""
        with self._changed:
            while not self._is_closed:
                left = self._committed_at + self._interval - time.monotonic()
                is_due = self._urgent or self._is_asked or (left <= 0 and self._engine.dirty)
                if is_due and self._metadata is not None:
                    return True
                self._changed.wait(left if left > 0 else self._interval)
            return False

    def _pause(self, seconds: float) -> None:
        begun = time.monotonic()
        with self._changed:
            while not self._is_closed:
                left = begun + (min(seconds, HURRY) if self._urgent else seconds) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)

    def _once(self) -> bool:
        """Commit what is finished now; return whether the next one may be begun at once."""
        engine = self._engine
        with self._changed:
            self._is_asked = False
            self._committed_at = time.monotonic()
            prefixes = self._take()
            if not prefixes:
                self._look_who_waits()
                self._changed.notify_all()
                return True
        began = time.monotonic()
        result = self._try(prefixes)
        with self._changed:
            if result is Result.DONE:
                engine.counters.commits += 1
                engine.meters.committing.note(time.monotonic() - began)
                for prefix in prefixes:
                    prefix.owned.committed = prefix.owned.sent = prefix.upto
                    self.kept.let_go(prefix.owned, [offset for offset, _ in prefix.held])
                    if prefix.owned.outputs and not prefix.owned.revoked:
                        engine.dirty.add(prefix.owned)
            else:
                engine.dirty |= {prefix.owned for prefix in prefixes if not prefix.owned.revoked}
            self._look_who_waits()
            self._changed.notify_all()
            engine.progress.notify_all()
        if result is Result.DONE:
            self.kept.confirm(prefixes)
        return result is not Result.FAILED

    def _look_who_waits(self) -> None:
        """Tell whoever waits for all that is settled to be committed, or go on at once; mutex held."""
        if self._is_hurried and self.catch_up():
            self._is_hurried = False
            self._engine.quarantine.caught_up()

    def _take(self) -> list[Prefix]:
        """Return what is finished and not committed of the partitions whose turn it is; mutex held."""
        engine = self._engine
        waiting = self._urgent | {owned for owned in engine.dirty if not owned.revoked}
        engine.dirty.clear()
        engine.dirty |= self.kept.standing.owned()
        left = FEW if self._careful else self._most
        prefixes = []
        while waiting and (left is None or left > 0):
            owned = waiting.pop()
            prefix = prefix_of(owned, self._finished(owned), left)
            if prefix is None:
                self._urgent.discard(owned)
                continue
            prefixes.append(prefix)
            left = None if left is None else left - max(1, len(prefix.held))
        engine.dirty |= {owned for owned in waiting if not owned.revoked}
        return prefixes

    def _finished(self, owned: Owned) -> int | None:
        """Return up to where a partition may be committed, ``None`` when nothing is new; mutex held."""
        upto = owned.offsets.committable()
        if upto is None:
            return None
        upto = self.kept.standing.bound(owned, upto, now=time.monotonic())
        return upto if upto > owned.committed else None

    def _try(self, prefixes: Sequence[Prefix]) -> Result:
        outputs = [
            ((prefix.owned, offset, held), output)
            for prefix in prefixes
            for offset, held in prefix.held
            for output in held.outputs
        ]
        offsets = [(prefix.owned.place, prefix.upto) for prefix in prefixes]
        try:
            self._producer.run(outputs, offsets, self._metadata, one_by_one=self._careful > 0)
        except CrowdedError as error:
            self._careful = len(outputs)
            logger.warning("transaction.aborted", extra={"fields": {"code": error.code, "then": "one_by_one"}})
            return Result.AGAIN
        except RefusedError as error:
            self.kept.replace(*next(tag for tag, _ in outputs if tag == error.tag), code=error.code)
            return Result.AGAIN
        except AbortedError as error:
            if self.kept.replace_letters(error.waiting, error.code):
                return Result.AGAIN
            if error.code == LATE:
                self._most = max(1, sum(len(prefix.held) for prefix in prefixes) // 2)
            self._aborted(error.code)
            return Result.FAILED
        self._careful = max(0, self._careful - len(outputs))
        self._most = None
        return Result.DONE

    def _aborted(self, code: str) -> None:
        engine = self._engine
        self._last_code = code
        with engine.mutex:
            engine.commit_errors[code] = engine.commit_errors.get(code, 0) + 1
        what = answer(code)
        logger.warning("transaction.aborted", extra={"fields": {"code": code, "then": what.name.lower()}})
        match what:
            case Answer.FATAL:
                engine.fail(ExitCode.KAFKA_FATAL, f"transaction: {code}")
            case Answer.CONFIG:
                engine.fail(ExitCode.CONFIG, f"transaction: {code}: not allowed")
            case _:
                # Even FENCED_INSTANCE_ID: a member that was thrown out and came back has another id, and an older
                # transaction spoke for the last one. The consumer hears of true fencing with its next heartbeat.
                self._metadata_at = 0.0
