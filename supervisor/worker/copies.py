"""Copies of failed records for retry topics: written, confirmed, and only then is the record settled (P1)."""

import logging
import random
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future

from supervisor.core.backoff import Backoff
from supervisor.core.events import Severity
from supervisor.core.lane import Lane
from supervisor.core.letters import where
from supervisor.core.retry_topics import Copy, copy_headers, topic_name
from supervisor.kafka.refusals import REFUSALS
from supervisor.plugin.types import Failure, Produce
from supervisor.worker.confirmations import Confirmations, Pending
from supervisor.worker.engine import Engine
from supervisor.worker.outlet import Outlet
from supervisor.worker.owned import Item
from supervisor.worker.turns import Turns

logger = logging.getLogger(__name__)
BACKOFF = Backoff(initial=0.2, factor=2.0, max=30.0, jitter=0.5)

Headers = tuple[tuple[str, bytes | None], ...]


class PendingCopy(Pending):
    """A copy on its way to the retry topic of ``tier``."""

    __slots__ = ("failure", "headers", "tier", "topic")

    def __init__(self, failure: Failure, headers: Headers, tier: int, topic: str) -> None:
        super().__init__()
        self.failure = failure
        self.headers = headers
        self.tier = tier
        self.topic = topic


class Copies:
    """The way of records into retry topics. Methods are called by the thread whose busy lane it is.

    ``there``: the retry topics that exist. ``refused``: takes a record whose copy no broker will ever take.
    """

    def __init__(
        self,
        engine: Engine,
        outlet: Outlet,
        turns: Turns,
        *,
        there: Collection[str],
        refused: Callable[[Lane[Item], Failure, str], None],
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self._turns = turns
        self._there = there
        self._refused = refused
        self._retry = engine.spec.group.retry
        self._confirmations = Confirmations(engine, engine.spec.group.dead_letters.timeout, self._answered)
        self._unwritten: set[str] = set()
        """Retry topics of which people were told that they cannot be written."""

    def begin(self, lane: Lane[Item], failure: Failure, tier: int, headers: Headers) -> None:
        """Copy the head of a busy lane; ``headers`` are its own."""
        group = self._engine.spec.group
        source = getattr(lane.head[1], "source", failure.record.topic)
        topic = topic_name(self._retry.topic, group.name, source, self._retry.tiers[tier])
        lane.letter = PendingCopy(failure, headers, tier, topic)
        self.send(lane, lane.letter)

    def send(self, lane: Lane[Item], pending: PendingCopy) -> None:
        """Send the copy of a busy lane's head, or have that tried again."""
        with self._engine.mutex:
            if lane.head[0].revoked:
                self._turns.let_go(lane)
                return
            pending.token += 1
            owned, message = lane.head
        if pending.topic not in self._there:
            # Written before it is made, a broker might make it with another number of partitions.
            self._again(lane, pending, "NOT_THERE_YET")
            return
        try:
            future: Future[None] | None = self._outlet.copy(owned, message, self._copy(pending), pending.failure)
        except Exception as error:  # noqa: BLE001 - whatever a client raises, the record is not copied
            self._answered(lane, error)
            return
        if future is None:
            self._written(lane, pending)
        else:
            self._confirmations.wait_for(lane, pending, future)

    def overdue(self) -> None:
        """Give up on brokers that did not answer in time. Main thread, each tick."""
        self._confirmations.overdue()

    def _copy(self, pending: PendingCopy) -> Produce:
        """Return what is written. It waits from now on, not from its failure: all in a topic wait equally long.

        The record's timestamp stays in a header: as the copy's own it would let the topic's retention delete an old
        record's copy before it is due.
        """
        failure, record = pending.failure, pending.failure.record
        topic, partition, offset = record.origin
        copy = Copy(
            group=self._engine.spec.group.name,
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=record.timestamp,
            timestamp_type=record.timestamp_type,
            attempts=failure.attempt,
            first_failed_at=failure.first_failed_at,
            not_before=time.time() + self._retry.tiers[pending.tier].delay,
        )
        kind = type(failure.error)
        return Produce(
            pending.topic,
            key=record.key,
            value=record.value,
            headers=copy_headers(pending.headers, copy, error=f"{kind.__module__}.{kind.__qualname__}"),
            partition=partition,
        )

    def _answered(self, lane: Lane[Item], error: BaseException | None) -> None:
        pending = lane.letter
        assert isinstance(pending, PendingCopy)  # noqa: S101 - only such lanes are waited for here
        if error is None:
            self._written(lane, pending)
            return
        code = str(getattr(error, "code", type(error).__name__))
        logger.warning("retry.failed", extra={"fields": {"topic": pending.topic, "error": code, "where": where(error)}})
        if code in REFUSALS:
            lane.letter = None
            self._refused(lane, pending.failure, code)
            return
        self._again(lane, pending, code)

    def _again(self, lane: Lane[Item], pending: PendingCopy, code: str) -> None:
        delay = BACKOFF.delay(pending.tries, chance=random.random())  # noqa: S311 - jitter
        pending.tries += 1
        if pending.tries > 1 or code != "NOT_THERE_YET":
            self._tell(pending, code)
        self._turns.wait(lane, delay, attempt=lane.attempt)

    def _written(self, lane: Lane[Item], pending: PendingCopy) -> None:
        engine = self._engine
        with engine.mutex:
            engine.counters.copied += 1
            self._turns.let_go(lane)
            is_over = pending.topic in self._unwritten
            self._unwritten.discard(pending.topic)
        if is_over:
            text = f"{pending.topic} takes records again"
            engine.event("retry_topic.recovered", Severity.INFO, text, topic=pending.topic)

    def _tell(self, pending: PendingCopy, code: str) -> None:
        """Tell once that a retry topic cannot be written; others that wait with this record are no news."""
        engine = self._engine
        with engine.mutex:
            is_news = pending.topic not in self._unwritten
            self._unwritten.add(pending.topic)
        if is_news:
            text = f"{pending.topic} cannot be written ({code}): its records wait, nothing is lost; trying again"
            engine.event("retry_topic.unwritten", Severity.CRITICAL, text, topic=pending.topic, error=code)
