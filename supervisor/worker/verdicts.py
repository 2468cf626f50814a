"""What is to become of a record whose attempt failed: the policy's answer, told in the log; and its dead letter."""

import logging
import random
import time
from typing import assert_never

from supervisor.core.cases import Case, Cause
from supervisor.core.events import one_line
from supervisor.core.exits import describe
from supervisor.core.letters import Origin, audit_id, dead_letter_headers, where
from supervisor.core.retry import Ruling, rule
from supervisor.core.retry_topics import next_tier
from supervisor.core.spec import Then
from supervisor.kafka.outputs import RefusedOutputError
from supervisor.plugin.active import Active
from supervisor.plugin.errors import DecodeError, KeyBusyError
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
    Record,
    Retry,
    RetryTopic,
)
from supervisor.worker.calling import HandlerTimeoutError, WrongReturnError
from supervisor.worker.dependencies import busy_retry, down_name, shown
from supervisor.worker.engine import Engine

logger = logging.getLogger(__name__)
Verdict = tuple[Failure, Decision]
PLUGIN_ERROR = Disposition.PLUGIN_ERROR
RETRY_LINES = 10
"""Failed attempts that are to be tried again and get a log line, per second; the others are counted."""
LONGEST_RETRY = 366 * 86400.0
"""Seconds; a policy that asks for more (or for no number) has an error in it."""
LONGEST_REASON = 200
"""Characters of a policy's reason: it is shown in events and tables."""


class Judge:
    """Decides over failed attempts. Any handler thread, mutex not held; user policies run in here."""

    def __init__(self, engine: Engine, active: Active) -> None:
        self._engine = engine
        self._policies = active.retry_decision
        self._told = active.failure_decided
        self._retry = engine.spec.group.retry
        self._down_errors = engine.spec.group.breaker.errors
        self._logged_since = 0.0
        self._logged = self._unlogged = 0
        """Failed attempts that were logged, and that were not, in the second that began then."""

    def judge(self, message: Message, error: BaseException, *, attempt: int, since: float | None) -> Verdict:
        """Decide over a record whose attempt failed, ``since`` (epoch) when not the first; may run user code."""
        engine = self._engine
        now = time.time()
        is_busy = isinstance(error, KeyBusyError)
        if not is_busy:
            with engine.mutex:
                engine.counters.failed_attempts += 1
        first = now if since is None else since
        failure = Failure(Record(message, attempt), error, attempt=attempt, first_failed_at=first, failed_at=now)
        is_private = False
        if is_busy:
            decision: Decision = busy_retry(failure, chance=random.random())  # noqa: S311 - jitter
        else:
            decision, is_private = self._decide(failure)
        decision = self._with_tier(failure, decision, getattr(message, "tier", -1))
        self._log(failure, "dead letter, as a policy said" if is_private else _words(decision), decision)
        self._told(failure, decision)
        return failure, decision

    def down_name(self, error: BaseException) -> str | None:
        """See ``dependencies``."""
        return down_name(error, self._down_errors)

    def _with_tier(self, failure: Failure, decision: Decision, at: int) -> Decision:
        """Return a decision for the retry topics as the one that it leads to, or the dead letter that is left."""
        if not isinstance(decision, RetryTopic):
            return decision
        tiers = self._retry.tiers
        if not tiers:
            return DeadLetter("retry_decision returned RetryTopic, and the group has no retry topics", PLUGIN_ERROR)
        tier = next_tier(tiers, at, decision.after)
        if tier is None:
            return _dead_letter(failure, f"failed {failure.attempt} times, the last after {tiers[-1].label}")
        return RetryTopic(tiers[tier].delay)

    def letter(self, failure: Failure, decision: DeadLetter) -> Letter:
        """Return the dead letter of a record that was given up; of a copy it is its first self's."""
        record, spec = failure.record, self._engine.spec
        topic, partition, offset = record.origin
        origin = Origin(
            group=spec.group.name,
            worker=spec.instance_id,
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=record.timestamp,
            disposition=decision.disposition.value,
            reason=decision.reason,
            attempts=failure.attempt,
            first_failed_at=failure.first_failed_at,
            failed_at=failure.failed_at,
            error=failure.error,
            slot=spec.slot,
            handler=spec.group.handler,
            code_version=spec.group.code_version,
            timestamp_type=record.timestamp_type,
        )
        return self._letter(record, origin, decision.disposition)

    def sentence(self, message: Message, case: Case) -> Letter:
        """Return the dead letter of a record that was convicted of killing its workers; nobody else is asked."""
        record, spec, evidence = Record(message, case.deaths), self._engine.spec, case.evidence
        topic, partition, offset = record.origin
        is_late = case.cause is Cause.TIMEOUT
        how = "took too long" if is_late else describe(evidence.status)
        origin = Origin(
            group=spec.group.name,
            worker=spec.instance_id,
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=record.timestamp,
            disposition=case.cause.value,
            reason=f"ended its worker {case.deaths} times; the last time: {how}",
            attempts=case.deaths,
            first_failed_at=case.first_at,
            failed_at=case.last_at,
            error=None,
            signal=describe(evidence.status) if evidence.status < 0 else "",
            exit_code=evidence.status if evidence.status >= 0 else None,
            stack=evidence.stack,
            log_lines=tuple(evidence.log.splitlines()),
            slot=spec.slot,
            handler=spec.group.handler,
            code_version=spec.group.code_version,
            timestamp_type=record.timestamp_type,
        )
        return self._letter(record, origin, Disposition(case.cause.value))

    def _letter(self, record: Record, origin: Origin, disposition: Disposition) -> Letter:
        letters = self._engine.spec.group.dead_letters
        return Letter(
            audit_id=audit_id(origin.group, origin.topic, origin.partition, origin.offset),
            topic=letters.topic.replace("{topic}", origin.topic),
            key=record.key,
            value=record.value,
            headers=dead_letter_headers(own_headers(record), origin, letters.headers),
            source_topic=origin.topic,
            source_partition=origin.partition,
            source_offset=origin.offset,
            disposition=disposition,
            timestamp=record.timestamp,
        )

    def shed(self, failure: Failure) -> None:
        """Say that a record was dropped, which nothing else keeps: too many became dead letters."""
        record = failure.record
        place = f"{record.topic}/{record.partition}@{record.offset}"
        logger.warning("record.shed", extra={"fields": {"record": place, "attempt": failure.attempt}})

    def _decide(self, failure: Failure) -> tuple[Decision, bool]:
        """Return what becomes of a record, and whether why is for its dead letter alone: a policy's words (P10)."""
        decision = self._without_asking(failure.error)
        if decision is not None:
            return decision, False
        for policy in self._policies:
            try:
                answer: object = policy(failure)
            except BaseException as error:  # noqa: BLE001 - user plugin: a broken policy must not stall a partition
                fields = {"error": type(error).__qualname__, "where": where(error)}
                logger.error("retry_decision.failed", extra={"fields": fields})  # noqa: TRY400 - its text is the user's
                return DeadLetter(f"retry_decision raised {type(error).__name__}", PLUGIN_ERROR), False
            if answer is not None:
                followed = _checked(answer)
                if followed is None:
                    text = f"retry_decision returned {type(answer).__name__} as nobody can follow it"
                    return DeadLetter(text, PLUGIN_ERROR), False
                return _named(followed, failure.error), isinstance(followed, DeadLetter)
        return self._by_table(failure), False

    def _without_asking(self, error: BaseException) -> Decision | None:
        """Return what becomes of a record whose failure leaves nothing to decide."""
        if isinstance(error, WrongReturnError):
            return DeadLetter(f"the handler returned {error.found}", PLUGIN_ERROR)
        if isinstance(error, RefusedOutputError):
            return DeadLetter(f"its output was refused: {error.code}", PLUGIN_ERROR)
        name = self.down_name(error)
        return None if name is None else DependencyDown(name)

    def _by_table(self, failure: Failure) -> Decision:
        if isinstance(failure.error, DecodeError):
            return DeadLetter("cannot be decoded", Disposition.DESERIALIZATION)
        chance = random.random()  # noqa: S311 - jitter
        ruling = rule(self._retry, failure.error, attempt=failure.attempt, chance=chance)
        return Retry(ruling.after) if ruling.after is not None else _given_up(failure, ruling)

    def _is_worth_a_line(self) -> bool:
        """Tell whether one more failed attempt may be logged: a broken dependency would write thousands a second."""
        now = time.monotonic()
        if now - self._logged_since >= 1.0:
            if self._unlogged:
                logger.info("record.failures_not_logged", extra={"fields": {"attempts": self._unlogged}})
            self._logged_since, self._logged, self._unlogged = now, 0, 0
        if self._logged < RETRY_LINES:
            self._logged += 1
            return True
        self._unlogged += 1
        return False

    def _log(self, failure: Failure, then: str, decision: Decision) -> None:
        record = failure.record
        if isinstance(decision, Retry | RetryTopic | DependencyDown) and not self._is_worth_a_line():
            return
        cause = failure.error.__cause__
        logger.log(
            logging.INFO if isinstance(decision, Retry | RetryTopic | DependencyDown) else logging.WARNING,
            "record.dropped" if isinstance(decision, Drop) else "record.failed",
            extra={
                "fields": {
                    "record": f"{record.topic}/{record.partition}@{record.offset}",
                    "attempt": failure.attempt,
                    "error": type(failure.error).__qualname__,
                    **({} if cause is None else {"cause": type(cause).__qualname__}),
                    "where": where(failure.error),
                    "then": then,
                }
            },
        )


def _checked(answer: object) -> Decision | None:
    """Return a policy's answer when it can be followed; types are only promises, and this one keeps a partition.

    Its reason is one line from here on: it may have been built from anything.
    """
    for kind in (Drop, Crash, Pause):
        if isinstance(answer, kind) and isinstance(answer.reason, str):
            return kind(one_line(answer.reason, LONGEST_REASON))
    match answer:
        case Retry(after=float() | int() as after) if after < LONGEST_RETRY:
            return answer
        case RetryTopic(after=None):
            return answer
        case RetryTopic(after=float() | int() as after) if after < LONGEST_RETRY:
            return answer
        case DeadLetter(reason=str() as reason, disposition=str() as disposition) if disposition in list(Disposition):
            return DeadLetter(one_line(reason, LONGEST_REASON), Disposition(disposition))
        case DependencyDown(name=str() as name):
            return DependencyDown(shown(name))
    return None


def _named(decision: Decision, error: BaseException) -> Decision:
    """Return a policy's answer, by the name that the error has where the policy gave none."""
    match decision, error:
        case DeadLetter(reason, Disposition.ERROR), DecodeError():
            return DeadLetter(reason, Disposition.DESERIALIZATION)
    return decision


def _given_up(failure: Failure, ruling: Ruling) -> Decision:
    """Return what the ``[retry]`` table makes of a record whose attempts are used up."""
    match ruling.then:
        case Then.DEAD_LETTER:
            return _dead_letter(failure, ruling.reason)
        case Then.TOPIC:
            return RetryTopic()
        case Then.DROP:
            return Drop(ruling.reason)
        case Then.CRASH:
            return Crash(ruling.reason)
        case Then.PAUSE:
            return Pause(ruling.reason)
        case _:
            assert_never(ruling.then)


def _dead_letter(failure: Failure, reason: str) -> DeadLetter:
    timed_out = isinstance(failure.error, HandlerTimeoutError)
    return DeadLetter(reason, Disposition.TIMEOUT if timed_out else Disposition.ERROR)


def own_headers(record: Record) -> tuple[tuple[str, bytes | None], ...]:
    """Return a record's headers, none where they cannot be read."""
    try:
        return tuple(record.headers)
    except Exception:  # noqa: BLE001 - a name that is no UTF-8 cannot be read; the letter is worth more than its headers
        return ()


def _words(decision: Decision) -> str:
    match decision:
        case Retry(after):
            return f"retry in {after:.2f} s"
        case RetryTopic(after):
            return f"retry topic, for {after:g} s"
        case DeadLetter(reason):
            return f"dead letter: {reason}"
        case Drop(reason):
            return f"drop: {reason}"
        case DependencyDown(name):
            return f"wait for {name}"
        case Crash(reason):
            return f"crash: {reason}"
        case Pause(reason):
            return f"pause: {reason}"
        case _:
            assert_never(decision)
