"""What becomes of a record whose attempt failed: another attempt, a dead letter, or an explicit drop.

A record is settled only when its dead letter is confirmed (P1). Until then its lane is blocked, no thread
waits, and a sink that cannot be written is tried again with backoff for as long as it takes.
"""

import random
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import assert_never

from supervisor.core.backoff import Backoff
from supervisor.core.cases import Case
from supervisor.core.exits import ExitCode
from supervisor.core.lane import Lane
from supervisor.core.lanes import BREAKER
from supervisor.core.letters import shorter
from supervisor.core.retry_topics import next_tier
from supervisor.kafka.outputs import RefusedOutputError
from supervisor.kafka.refusals import TOO_LARGE
from supervisor.kafka.topics import DeadLetterTopics
from supervisor.plugin.active import Active
from supervisor.plugin.types import (
    Crash,
    DeadLetter,
    Decision,
    DependencyDown,
    Disposition,
    Drop,
    Failure,
    Letter,
    Message,
    Pause,
    Produce,
    Retry,
    RetryTopic,
)
from supervisor.worker.breaker import Breaker
from supervisor.worker.confirmations import Confirmations, Pending
from supervisor.worker.copies import Copies, PendingCopy
from supervisor.worker.dependencies import BusyRetry
from supervisor.worker.engine import Engine
from supervisor.worker.flood import Fate, FloodGuard
from supervisor.worker.outlet import Outlet
from supervisor.worker.owned import Item, Owned
from supervisor.worker.pauses import LONGEST, Pauses
from supervisor.worker.sinks import Sinks, Taken, UnwrittenError, WrongAnswerError, code_of
from supervisor.worker.turns import Turns
from supervisor.worker.verdicts import Judge, Verdict, own_headers

FAILURES = (Disposition.ERROR, Disposition.TIMEOUT)
MAY_WAIT = (*FAILURES, Disposition.DESERIALIZATION)
"""What may be held back and tried again; of others the handler has done its work, or must not see them again."""
SINK_BACKOFF = Backoff(initial=0.5, factor=2.0, max=30.0, jitter=0.5)


class PendingLetter(Pending):
    """A dead letter on its way.

    ``offered`` is what the sink whose turn it is gets: the letter, or less of its headers once that was too large.
    ``answer`` is what that sink said to produce, while its topic is looked at.
    ``is_sentence``: its record was convicted, and the parent is told when it is confirmed.
    """

    __slots__ = ("answer", "failures", "is_sentence", "is_told", "letter", "offered", "sink")

    def __init__(self, letter: Letter, *, is_sentence: bool = False) -> None:
        super().__init__()
        self.letter = self.offered = letter
        self.answer: object = None
        self.is_sentence = is_sentence
        self.failures: dict[int, str] = {}
        """Why sinks did not take it, by their place."""
        self.is_told = False
        self.sink = 0


class Outcomes:
    """The way of failed records. Methods are called by the thread whose busy lane it is, mutex not held."""

    def __init__(
        self,
        engine: Engine,
        active: Active,
        outlet: Outlet,
        topics: DeadLetterTopics | None = None,
        *,
        there: Collection[str] = (),
    ) -> None:
        self._engine = engine
        self.outlet = outlet
        self._judge = Judge(engine, active)
        self.breaker = Breaker(engine)
        self.pauses = Pauses(engine)
        self.flood = FloodGuard(engine)
        self._letters = engine.spec.group.dead_letters
        self._tiers = engine.spec.group.retry.tiers
        self.sinks = Sinks(engine, active, topics)
        self._turns = Turns(engine)
        self._confirmations = Confirmations(engine, self._letters.timeout, self._answered)
        self._looks = Confirmations(engine, self._letters.timeout, self._looked)
        self._copies = Copies(engine, outlet, self._turns, there=there, refused=self._not_copied)

    def failed(self, lane: Lane[Item], error: BaseException) -> None:
        """Decide over the head of ``lane`` after a failed attempt, and do it."""
        with self._engine.mutex:
            owned, message = lane.head
            if owned.revoked:
                self.breaker.lost(lane)
                self._turns.let_go(lane)
                return
        self.follow(lane, *self._judge.judge(message, error, attempt=lane.attempt, since=lane.failed_at))

    def judge(self, message: Message, error: BaseException, *, attempt: int, since: float | None) -> Verdict:
        """See ``Judge``."""
        return self._judge.judge(message, error, attempt=attempt, since=since)

    def follow(self, lane: Lane[Item], failure: Failure, decision: Decision) -> None:
        """Do what was decided over the head of a busy ``lane``."""
        engine = self._engine
        lane.failed_at = failure.first_failed_at
        match decision:
            case BusyRetry(after):
                with engine.mutex:
                    self.breaker.lost(lane)
                self._turns.wait(lane, after, attempt=failure.attempt)
            case Retry(after):
                self._turns.wait(lane, after, attempt=failure.attempt + 1)
            case DependencyDown(name):
                self.breaker.down(name, lane)
                self._turns.put_back(lane, attempt=failure.attempt)
            case Drop():
                with engine.mutex:
                    engine.counters.dropped += 1
                    self._turns.let_go(lane)
            case RetryTopic() if engine.lanes.closed & BREAKER:
                self._turns.put_back(lane, attempt=failure.attempt)
            case RetryTopic(after):
                tier = next_tier(self._tiers, getattr(lane.head[1], "tier", -1), after)
                assert tier is not None  # noqa: S101 - else judge() makes a dead letter of it
                self._copies.begin(lane, failure, tier, own_headers(failure.record))
            case DeadLetter():
                self._give_up_on(lane, failure, decision)
            case Pause(reason):
                self._turns.wait(lane, LONGEST, attempt=failure.attempt + 1, among=self.pauses.lanes)
                self.pauses.ask(failure.record, reason)
            case Crash(reason):
                # Its lane stays taken: nobody works it again, and what has settled by then may still be committed.
                record = failure.record
                engine.fail(ExitCode.POLICY, f"{record.topic}/{record.partition}@{record.offset}: {reason}")
            case _:
                assert_never(decision)

    def _give_up_on(self, lane: Lane[Item], failure: Failure, decision: DeadLetter, *, aside: bool = False) -> None:
        """Have a record become a dead letter, unless it has to wait or be dropped with many others.

        ``aside``: this thread must not wait for a sink; a handler's will.
        """
        engine = self._engine
        fate = self._fate(decision)
        match fate:
            case Fate.HOLD:
                self._turns.put_back(lane, attempt=failure.attempt)
            case Fate.SHED:
                self._judge.shed(failure)
                with engine.mutex:
                    engine.counters.dropped += 1
                    self._settle_letter(lane)
            case Fate.WRITE:
                if decision.disposition is Disposition.DESERIALIZATION:  # no handler saw it: it tells nothing
                    with engine.mutex:
                        self.breaker.lost(lane)
                lane.letter = PendingLetter(self._judge.letter(failure, decision))
                if aside:
                    self._turns.wait(lane, 0.0, attempt=lane.attempt)
                else:
                    self.send_again(lane)

    def _fate(self, decision: DeadLetter) -> Fate:
        """Return what is to become of a record that would be a dead letter; some cannot be tried again."""
        engine = self._engine
        with engine.mutex:
            if engine.lanes.closed & BREAKER and decision.disposition in FAILURES:
                return Fate.HOLD
            if decision.disposition not in MAY_WAIT:
                self.flood.written_anyway()
                return Fate.WRITE
        return self.flood.letter()

    def _not_copied(self, lane: Lane[Item], failure: Failure, code: str) -> None:
        """Give up a record that no broker takes into a retry topic. Perhaps in the thread that serves all reports."""
        self._give_up_on(lane, failure, _refused_copy(code), aside=True)

    def refused(self, owned: Owned, message: Message, error: RefusedOutputError) -> None:
        """Give up a record whose handler was done, and whose outputs will never be taken. The thread that polls."""
        with self._engine.mutex:
            owned.outputs.pop(message.offset() or 0, None)
            if owned.revoked:
                return
            lane = self._engine.adopt_alone(owned, message)
        failure, decision = self._judge.judge(message, error, attempt=1, since=None)
        assert isinstance(decision, DeadLetter)  # noqa: S101 - that is what judge() makes of this error
        self._give_up_on(lane, failure, decision, aside=True)

    def instead(self, message: Message, error: RefusedOutputError, failure: Failure | None) -> Taken:
        """Write the dead letter of a settled record whose outputs will never be taken; return what is to be produced.

        With ``failure`` it is its copy for a retry topic that will not, and the letter tells of that failure.

        The transaction thread; waits for the sink. Raises ``UnwrittenError``.
        """
        decision: Decision = _refused_copy(error.code)
        if failure is None:
            failure, decision = self._judge.judge(message, error, attempt=1, since=None)
        assert isinstance(decision, DeadLetter)  # noqa: S101 - that is what judge() makes of this error
        taken = self.sinks.take(self._judge.letter(failure, decision))
        self.sinks.written(taken.letter, taken.sink)
        return taken

    def elsewhere(self, taken: Taken, code: str) -> Taken:
        """Have another sink write a letter that its topic refused; as ``instead``."""
        moved = self.sinks.take(taken.letter, refused={taken.sink: code})
        self.sinks.moved(moved, code)
        return moved

    def unwritten(self, error: UnwrittenError) -> None:
        """Tell people of a letter that no sink takes."""
        self.sinks.unwritten(error.letter, error.failures)

    def confirmed(self, taken: Taken) -> None:
        """Hear that a letter was committed in a transaction."""
        self.sinks.recovered(taken.letter, taken.sink)

    def batch(self, lane: Lane[Item], outcomes: Sequence[BaseException | None]) -> None:
        """Settle what a batch handler worked off the front of a busy ``lane``.

        What failed stays in front and is tried again alone, in order, before anything new of the lane (P2); together
        with what follows where nothing failed but what they need.
        """
        engine = self._engine
        first = next((outcome for outcome in outcomes if outcome is not None), None)
        failures = [outcome for outcome in outcomes if outcome is not None]
        alone = not all(self._judge.down_name(failure) for failure in failures)
        with engine.mutex:
            engine.settle_batch(lane, [outcome is None for outcome in outcomes], alone=alone)
            if first is None:
                engine.lanes.give_back(lane)
        if first is not None:
            self.failed(lane, first)

    def send_again(self, lane: Lane[Item]) -> None:
        """Offer the dead letter of a busy lane to the sink whose turn it is, or send its copy."""
        engine, pending = self._engine, lane.letter
        if isinstance(pending, PendingCopy):
            self._copies.send(lane, pending)
            return
        with engine.mutex:
            if isinstance(pending, Case):  # no handler runs: it tells nothing of what is down
                self.breaker.lost(lane)
            owned = lane.head[0]
            if owned.revoked or (isinstance(pending, Case) and engine.quarantine.is_buried(owned, pending)):
                self._turns.let_go(lane)
                return
            if isinstance(pending, Case):
                letter = self._judge.sentence(lane.head[1], pending)
                lane.letter = pending = PendingLetter(letter, is_sentence=True)
            assert isinstance(pending, PendingLetter)  # noqa: S101 - only lanes with a letter come here
            pending.token += 1
            owned, message = lane.head
        try:
            answer, pending.answer = pending.answer, None
            future = answer = answer if answer is not None else self.sinks.offer(pending.sink, pending.offered)
            look = self.sinks.beforehand(pending.letter, answer)
            if look is not None:
                pending.answer = answer
                self._looks.wait_for(lane, pending, look)
                return
            if isinstance(answer, Produce):
                future = self.outlet.letter(owned, message, Taken(pending.letter, pending.sink, (answer,)))
        except BaseException as error:  # noqa: BLE001 - user plugin: any failure means "not written"
            self._not_written(lane, error)
            return
        if future is None:
            self._written(lane, is_sure=answer is None)
            return
        if not isinstance(future, Future):
            self._not_written(lane, WrongAnswerError(answer))
            return
        self._confirmations.wait_for(lane, pending, future)

    def overdue(self) -> None:
        """Give up on sinks that did not answer in time, and on a parent that did not pause. Main thread, each tick."""
        self.pauses.look()
        self._confirmations.overdue()
        self._looks.overdue()
        self._copies.overdue()

    def _looked(self, lane: Lane[Item], _error: BaseException | None) -> None:
        """Have a letter sent whose topic was looked at, or a handler's thread look how far that is: not this one."""
        self._turns.wait(lane, 0.0, attempt=lane.attempt)

    def _answered(self, lane: Lane[Item], error: BaseException | None) -> None:
        if error is None:
            self._written(lane)
        else:
            self._not_written(lane, error)

    def _written(self, lane: Lane[Item], *, is_sure: bool = True) -> None:
        """Settle a record whose letter is written, or (not ``is_sure``) will be in the transaction of its offset."""
        pending = lane.letter
        assert isinstance(pending, PendingLetter)  # noqa: S101 - as in send_again
        if pending.is_sentence and is_sure:
            self._engine.quarantine.buried(*lane.head)
        with self._engine.mutex:
            self._settle_letter(lane)
        if is_sure:
            self.sinks.recovered(pending.letter, pending.sink)
        self.sinks.written(pending.offered, pending.sink, is_whole=pending.offered is pending.letter)

    def _not_written(self, lane: Lane[Item], error: BaseException) -> None:
        """Have the letter tried again at once with less of its headers, by the next sink, or by all of them later."""
        pending = lane.letter
        assert isinstance(pending, PendingLetter)  # noqa: S101 - as in send_again
        is_too_large = code_of(error) in TOO_LARGE
        fewer = shorter(pending.offered.headers, self._letters.headers) if is_too_large else None
        if fewer is not None:
            pending.offered = replace(pending.offered, headers=fewer)
            self._turns.wait(lane, 0.0, attempt=lane.attempt)
            return
        pending.failures[pending.sink] = self.sinks.failed(pending.sink, pending.letter, error)
        pending.offered = pending.letter
        pending.sink = self.sinks.after(pending.sink)
        delay = 0.0
        if pending.sink == 0:
            delay = SINK_BACKOFF.delay(pending.tries, chance=random.random())  # noqa: S311 - jitter
            pending.tries += 1
            if not pending.is_told:  # once: where others are written, it may wait alone for being too large
                pending.is_told = True
                self.sinks.unwritten(pending.letter, pending.failures)
        self._turns.wait(lane, delay, attempt=lane.attempt)

    def _settle_letter(self, lane: Lane[Item]) -> None:
        """Settle a record whose dead letter is written, or shed; mutex held."""
        before = self._engine.counters.settled
        self._turns.let_go(lane)
        self.flood.settles(self._engine.counters.settled - before)


def _refused_copy(code: str) -> DeadLetter:
    return DeadLetter(f"its retry topic refused it: {code}")
