"""What becomes of a record whose attempt failed: another attempt, a dead letter, or an explicit drop.

A record is settled only when its dead letter is confirmed (P1). Until then its lane is blocked, no thread
waits, and a sink that cannot be written is tried again with backoff for as long as it takes.
"""

import logging
import random
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import assert_never

from supervisor.core.backoff import Backoff
from supervisor.core.events import Severity
from supervisor.core.lanes import Lane
from supervisor.core.letters import shorter, where
from supervisor.kafka.outputs import TOO_LARGE, RefusedOutputError
from supervisor.plugin.active import Active, Sink
from supervisor.plugin.types import (
    DeadLetter,
    Decision,
    Drop,
    Failure,
    Letter,
    Message,
    Produce,
    Retry,
)
from supervisor.worker.dependencies import DownRetry
from supervisor.worker.engine import Engine, Item, Owned
from supervisor.worker.outlet import Outlet
from supervisor.worker.verdicts import Judge, Verdict

logger = logging.getLogger(__name__)
SINK_BACKOFF = Backoff(initial=0.5, factor=2.0, max=30.0, jitter=0.5)


class PendingLetter:
    """A dead letter on its way. ``token`` grows with each try, so that a late answer to an older one is ignored.

    ``offered`` is what the sink whose turn it is gets: the letter, or less of its headers once that was too large.
    """

    __slots__ = ("deadline", "is_told", "letter", "offered", "sink", "token", "tries")

    def __init__(self, letter: Letter) -> None:
        self.letter = self.offered = letter
        self.is_told = False
        self.sink = 0
        self.tries = 0
        self.token = 0
        self.deadline = 0.0


class Outcomes:
    """The way of failed records. Methods are called by the thread whose busy lane it is, mutex not held."""

    def __init__(self, engine: Engine, active: Active, outlet: Outlet) -> None:
        self._engine = engine
        self.outlet = outlet
        self._judge = Judge(engine, active)
        self._letters = engine.spec.group.dead_letters
        names = [name for name in (self._letters.sink, self._letters.fallback) if name]
        self._sinks: list[tuple[str, Sink]] = [(name, active.sink(name)) for name in names]
        self._awaited: dict[Lane[Item], PendingLetter] = {}
        self._unwritten: set[str] = set()
        """Dead-letter topics of which people were told that a letter cannot be written."""

    def failed(self, lane: Lane[Item], error: BaseException) -> None:
        """Decide over the head of ``lane`` after a failed attempt, and do it."""
        with self._engine.mutex:
            owned, message = lane.head
            if owned.revoked:
                self._let_go(lane)
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
            case Retry(after):
                self._wait(lane, after, attempt=failure.attempt + (not isinstance(decision, DownRetry)))
            case Drop():
                with engine.mutex:
                    engine.counters.dropped += 1
                    self._let_go(lane)
            case DeadLetter():
                lane.letter = PendingLetter(self._judge.letter(failure, decision))
                self.send_again(lane)
            case _:
                assert_never(decision)

    def refused(self, owned: Owned, message: Message, error: RefusedOutputError) -> None:
        """Give up a record whose handler was done, and whose outputs will never be taken."""
        with self._engine.mutex:
            owned.outputs.pop(message.offset() or 0, None)
            if owned.revoked:
                return
            lane = self._engine.adopt_alone(owned, message)
        self.follow(lane, *self._judge.judge(message, error, attempt=1, since=None))

    def instead(self, message: Message, error: RefusedOutputError) -> list[Produce]:
        """Write the dead letter of a settled record whose outputs will never be taken; return what is to be produced.

        The transaction thread; waits for the sink. Raises what the last sink raised.
        """
        failure, decision = self._judge.judge(message, error, attempt=1, since=None)
        assert isinstance(decision, DeadLetter)  # noqa: S101 - that is what judge() makes of this error
        letter = self._judge.letter(failure, decision)
        for last, (name, sink) in enumerate(self._sinks, 1 - len(self._sinks)):
            try:
                answer = sink(letter)
                if isinstance(answer, Future):
                    answer.result(self._letters.timeout)
                elif answer is not None and not isinstance(answer, Produce):
                    raise _no_answer()  # noqa: TRY301 - a broken sink is one that failed
            except BaseException as problem:
                fields = {"sink": name, "error": _code(problem), "at": where(problem)}
                logger.warning("sink.failed", extra={"fields": fields})
                if last == 0:
                    raise
            else:
                self._tell(letter, name)
                return [answer] if isinstance(answer, Produce) else []
        return []

    def batch(self, lane: Lane[Item], outcomes: Sequence[BaseException | None]) -> None:
        """Settle what a batch handler worked off the front of a busy ``lane``.

        What failed stays in front and is tried again alone, in order, before anything new of the lane (P2).
        """
        engine = self._engine
        first = next((outcome for outcome in outcomes if outcome is not None), None)
        with engine.mutex:
            engine.settle_batch(lane, [outcome is None for outcome in outcomes])
            if first is None:
                engine.lanes.give_back(lane)
        if first is not None:
            self.failed(lane, first)

    def send_again(self, lane: Lane[Item]) -> None:
        """Offer the dead letter of a busy lane to the sink whose turn it is."""
        pending = lane.letter
        assert isinstance(pending, PendingLetter)  # noqa: S101 - only lanes with a letter come here
        engine = self._engine
        with engine.mutex:
            if lane.head[0].revoked:
                self._let_go(lane)
                return
            pending.token += 1
            token = pending.token
            owned, message = lane.head
        name, sink = self._sinks[pending.sink]
        try:
            future: object = sink(pending.offered)
            if isinstance(future, Produce):
                future = self.outlet.letter(owned, message, future)
        except BaseException as error:  # noqa: BLE001 - user plugin: any failure means "not written"
            self._not_written(lane, name, error)
            return
        if future is None:
            self._written(lane, name)
            return
        if not isinstance(future, Future):
            self._not_written(lane, name, _no_answer())
            return
        with engine.mutex:
            pending.deadline = time.monotonic() + self._letters.timeout
            self._awaited[lane] = pending
            engine.lanes.block(lane)
        future.add_done_callback(partial(self._answered, lane, pending, token))

    def overdue(self) -> None:
        """Give up on sinks that did not answer in time. Main thread, each tick."""
        now = time.monotonic()
        with self._engine.mutex:
            late = [(lane, pending) for lane, pending in self._awaited.items() if pending.deadline <= now]
        for lane, pending in late:
            self._take_back(lane, pending, pending.token, TimeoutError(f"no answer within {self._letters.timeout:g} s"))

    def _answered(self, lane: Lane[Item], asked: PendingLetter, token: int, future: "Future[None]") -> None:
        """Take a sink's answer; whatever thread the future ends in."""
        try:
            error = future.exception()
        except BaseException as cancelled:  # noqa: BLE001 - a cancelled future was not written
            error = cancelled
        try:
            self._take_back(lane, asked, token, error)
        except BaseException as crash:  # noqa: BLE001 - crash-only: futures swallow what their callbacks raise
            self._engine.crash(crash)

    def _take_back(self, lane: Lane[Item], asked: PendingLetter, token: int, error: BaseException | None) -> None:
        """Take an answer, unless it is late: to an older try, or to a letter that another one of the lane followed."""
        with self._engine.mutex:
            pending = self._awaited.get(lane)
            if pending is not asked or pending.token != token:
                return
            del self._awaited[lane]
            pending.token += 1
            self._engine.lanes.unblock(lane)
        name = self._sinks[pending.sink][0]
        if error is None:
            self._written(lane, name)
        else:
            self._not_written(lane, name, error)

    def _written(self, lane: Lane[Item], sink: str) -> None:
        engine = self._engine
        pending = lane.letter
        assert isinstance(pending, PendingLetter)  # noqa: S101 - as in send_again
        with engine.mutex:
            self._let_go(lane)
            is_over = pending.letter.topic in self._unwritten
            self._unwritten.discard(pending.letter.topic)
        if is_over:
            text = f"dead letters for {pending.letter.topic} are written again, to {sink}"
            engine.event("dead_letter.recovered", Severity.INFO, text, topic=pending.letter.topic, sink=sink)
        self._tell(pending.offered, sink, is_whole=pending.offered is pending.letter)

    def _tell(self, letter: Letter, sink: str, *, is_whole: bool = True) -> None:
        """Count a dead letter that was written, and make its one event (P7)."""
        engine = self._engine
        record = f"{letter.source_topic}/{letter.source_partition}@{letter.source_offset}"
        with engine.mutex:
            engine.counters.dead_lettered += 1
        engine.event(
            "record.dead_lettered",
            Severity.INFO,
            f"{record} went to {sink} ({letter.disposition}){'' if is_whole else ', its headers trimmed to fit'}",
            sink=sink,
            disposition=letter.disposition.value,
            audit_id=letter.audit_id,
            trimmed=not is_whole,
            record=record,
        )

    def _not_written(self, lane: Lane[Item], sink: str, error: BaseException) -> None:
        """Have the letter tried again at once with less of its headers, by the next sink, or by all of them later."""
        pending = lane.letter
        assert isinstance(pending, PendingLetter)  # noqa: S101 - as in send_again
        # Sinks tell codes and places; their text is logged without what the user's code may have put into it.
        code = _code(error)
        fewer = shorter(pending.offered.headers, self._letters.headers) if code in TOO_LARGE else None
        if fewer is not None:
            pending.offered = replace(pending.offered, headers=fewer)
            self._wait(lane, 0.0, attempt=lane.attempt)
            return
        logger.warning("sink.failed", extra={"fields": {"sink": sink, "error": code, "at": where(error)}})
        pending.offered = pending.letter
        pending.sink = (pending.sink + 1) % len(self._sinks)
        delay = 0.0
        if pending.sink == 0:
            delay = SINK_BACKOFF.delay(pending.tries, chance=random.random())  # noqa: S311 - jitter
            pending.tries += 1
            self._tell_unwritten(pending, sink, code)
        self._wait(lane, delay, attempt=lane.attempt)

    def _tell_unwritten(self, pending: PendingLetter, sink: str, code: str) -> None:
        """Alert once that letters of a topic cannot be written; others that wait with this one are no news.

        Nor is this one ever again: where others are written, it may wait alone for being too large.
        """
        letter = pending.letter
        with self._engine.mutex:
            is_news = not pending.is_told and letter.topic not in self._unwritten
            pending.is_told = True
            if is_news:
                self._unwritten.add(letter.topic)
        if not is_news:
            return
        why = "the record itself is too large for it" if code in TOO_LARGE else code
        self._engine.event(
            "dead_letter.unwritten",
            Severity.CRITICAL,
            f"no sink takes the dead letter {letter.audit_id} ({sink}: {why}); "
            "its records wait, nothing is lost; trying again",
            sink=sink,
            error=code,
            audit_id=letter.audit_id,
            topic=letter.topic,
        )

    def _wait(self, lane: Lane[Item], after: float, *, attempt: int) -> None:
        engine = self._engine
        with engine.mutex:
            if lane.head[0].revoked or engine.stopping:
                self._give_up(lane)
                return
            lane.attempt = attempt
            engine.lanes.wait(lane, due=time.monotonic() + max(0.0, after))
            engine.progress.notify_all()
            engine.work.notify()

    def _let_go(self, lane: Lane[Item]) -> None:
        """Settle the head of a busy lane and end the lane's turn; mutex held."""
        self._engine.settle_head(lane)
        self._end_turn(lane)

    def _give_up(self, lane: Lane[Item]) -> None:
        """End a busy lane's turn with its head unsettled, to be delivered again, here or elsewhere; mutex held.

        While stopping all of the lane goes: what else a batch left undone must not be begun before its head.
        Otherwise only what was revoked: records of the partition's next ownership may wait behind it.
        """
        while self._engine.stopping and lane.items:
            self._engine.lanes.settle_head(lane)
        self._end_turn(lane)

    def _end_turn(self, lane: Lane[Item]) -> None:
        self._engine.drop_revoked(lane)
        self._engine.lanes.give_back(lane)
        self._engine.work.notify()


def _no_answer() -> TypeError:
    return TypeError("a sink must return None, a Produce or a Future")


def _code(error: BaseException) -> str:
    """Return what names a sink's failure: its ``code``, else its class."""
    try:
        code = getattr(error, "code", None)
    except Exception:  # noqa: BLE001 - user plugin: an attribute may be code that fails
        code = None
    return str(code) if type(code) in (str, int) else type(error).__name__
