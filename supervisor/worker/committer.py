"""Commits: which offsets, when, and what follows from each answer (P1).

All of it belongs to the holder of the baton. Steady state is asynchronous: one synchronous commit in the poll
loop would silence the whole group for a heartbeat of every cooperative rebalance.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from supervisor.core.commits import Answer, answer
from supervisor.core.exits import ExitCode
from supervisor.core.lane import Place
from supervisor.kafka.consumer import Source
from supervisor.worker.engine import Engine
from supervisor.worker.notes import Notes
from supervisor.worker.owned import Owned

logger = logging.getLogger(__name__)

STORE_INTERVAL = 0.1
PATIENCE = 255.0
"""Seconds, beyond the session's timeout, after which a commit without an answer is taken for lost, and the next one may
go. The client keeps one that long while no broker answers: one more would wait there beyond the membership's end."""
SESSION = 45_000
"""Milliseconds: librdkafka's own session timeout."""
REFUSED_PAUSE = 0.1
"""Seconds between a refused commit and the next one, whoever is in a hurry."""
REVOKE_TRIES = REST_TRIES = 3

Results = Sequence[tuple[Place, int, str | None]]


class Commits(Protocol):
    """How a worker's progress gets to Kafka. All of it belongs to the holder of the baton."""

    notes: Notes

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""

    def begin(self, offsets: Sequence[tuple[Place, int]]) -> None:
        """Pin where ownerships began: their first records' offsets."""

    def pin(self, offsets: Mapping[Place, int]) -> None:
        """Commit where partitions were told to go on, which may be lower than before."""

    def if_due(self) -> None:
        """Commit in the background when enough was settled, or long enough ago; never waits for it."""

    def catch_up(self) -> bool:
        """Tell whether all that is settled is committed; mutex held.

        Where it is not, that is done at once, and ``engine.quarantine.caught_up`` called when it is.
        """

    def rest(self, deadline: float, poll: Callable[[], None]) -> None:
        """Commit all that is committable, ``poll`` until it was taken or ``deadline`` passed; at shutdown."""

    def last_of(self, partitions: Iterable[Owned]) -> Callable[[], None]:
        """Return what commits the last of partitions that are given up, and waits; mutex held, but not for the call."""

    def committed(self, results: Results) -> None:
        """Take a commit's outcome, partition by partition."""


class Committer:
    """Commits of one worker, by its own count and age, or (``automatic``) through librdkafka's timer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commit = engine.spec.group.commit
        self._is_automatic = self._commit.mode == "automatic"
        self._patience = PATIENCE + int(engine.spec.group.kafka.get("session.timeout.ms", SESSION)) / 1000
        self._source: Source | None = None
        self.notes = Notes(engine)
        self._sent_at: float | None = None
        """When the commit went that has no answer yet."""
        self._committed_at = time.monotonic()
        self._settled_then = 0
        self._awaited: dict[Place, int] = {}
        """The newest offsets that went, or are about to go, and have no answer yet. One commit may overtake another's
        answer: several begin partitions, or one was sent again."""
        self._is_hurried = False
        """Whether somebody waits until all that is settled is committed."""
        self._refused_at = -REFUSED_PAUSE

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""
        self._source = source
        self._engine.quarantine.commits = self
        self.notes.open(source)

    def begin(self, offsets: Sequence[tuple[Place, int]]) -> None:
        """Pin where ownerships began: their first records' offsets.

        With ``auto.offset.reset = latest`` a crash before the first commit would otherwise skip what was
        delivered and not settled.
        """
        if not self._is_automatic:
            self._awaited.update(offsets)
        self._send(offsets, time.monotonic())

    def pin(self, offsets: Mapping[Place, int]) -> None:
        """See ``Commits``; in either mode, since librdkafka's timer never goes back."""
        with self._engine.mutex:
            for place, offset in offsets.items():
                self._engine.owned[place].sent = offset
            self.notes.forget(list(offsets))
        self._client.commit(list(offsets.items()))

    def if_due(self) -> None:
        """Send a commit in the background when enough was settled, or long enough ago; never waits for it."""
        now = time.monotonic()
        engine = self._engine
        with engine.mutex:
            self._look_who_waits()
            if not (engine.dirty or self._is_hurried) or self._is_unanswered(now):
                return
            is_hurried = self._is_hurried and now - self._refused_at >= REFUSED_PAUSE
            interval = STORE_INTERVAL if self._is_automatic else self._commit.interval
            enough = not self._is_automatic and engine.counters.settled - self._settled_then >= self._commit.count
            if now - self._committed_at < interval and not enough and not is_hurried:
                return
            offsets = self._take(engine.dirty)
            engine.dirty.clear()
            self._committed_at = now
            self._settled_then = engine.counters.settled
            stored = self._stored() if is_hurried else []
        self._send(offsets, now)
        if stored:
            # In either mode, since librdkafka's timer has its own time.
            self._sent_at = now
            self._client.commit(stored)

    def catch_up(self) -> bool:
        """See ``Commits``; the holder of the baton does it, after its next poll."""
        if self._is_caught_up():
            return True
        self._is_hurried = True
        return False

    def _look_who_waits(self) -> None:
        """Tell whoever waits for all that is settled to be committed; mutex held."""
        if self._is_hurried and self._is_caught_up():
            self._is_hurried = False
            self._engine.quarantine.caught_up()

    def _is_caught_up(self) -> bool:
        """Tell whether nothing is settled, or done but for its outputs, that is not committed; mutex held."""
        engine = self._engine
        if engine.dirty or self._stored() or not engine.owned.keys().isdisjoint(self._awaited):
            return False
        return engine.outlet is None or not engine.outlet.is_waited_for(engine.owned)

    def _is_unanswered(self, now: float) -> bool:
        return self._sent_at is not None and now - self._sent_at < self._patience

    def _stored(self) -> list[tuple[Place, int]]:
        """Return what librdkafka's timer has not committed yet; mutex held."""
        owned = self._engine.owned.values() if self._is_automatic else ()
        return [(one.place, one.sent) for one in owned if one.sent is not None and one.sent > one.committed]

    def rest(self, deadline: float, poll: Callable[[], None]) -> None:
        """Commit all that is committable, ``poll`` until it was taken or ``deadline`` passed; at shutdown."""
        engine = self._engine

        def answered() -> None:
            while self._sent_at is not None and time.monotonic() < deadline and engine.end is None:
                poll()

        answered()
        for _ in range(REST_TRIES):
            with engine.mutex:
                offsets = self._take(engine.owned.values())
                engine.dirty.clear()
            if not offsets:
                return
            self._send(offsets, time.monotonic())
            answered()

    def last_of(self, partitions: Iterable[Owned]) -> Callable[[], None]:
        """See ``Commits``; offsets that were sent before are sent again.

        An answer that is still out may be a refusal, and nobody would be there to send the offset again.
        """
        partitions = list(partitions)
        for owned in partitions:
            owned.sent = None
            self.notes.refused(owned.place, "")
        return partial(self._before_revoke, self._take(partitions))

    def _before_revoke(self, offsets: list[tuple[Place, int]]) -> None:
        """Commit and wait; blocks up to 45 s while no broker answers."""
        if not offsets:
            return
        if self._is_automatic:
            # librdkafka commits what is stored before it gives the partitions up.
            self._client.store(offsets)
            return
        for _ in range(REVOKE_TRIES):
            began = time.monotonic()
            results = self._client.commit_now(offsets, self.notes.texts)
            with self._engine.mutex:
                self._engine.meters.committing.note(time.monotonic() - began)
            self.committed(results)
            offsets = [(place, offset) for place, offset, code in results if code and answer(code) is Answer.RETRY]
            if not offsets:
                return

    def committed(self, results: Results) -> None:
        """Take a commit's outcome, partition by partition."""
        engine = self._engine
        sent_at, self._sent_at = self._sent_at, None
        with engine.mutex:
            if sent_at is not None:
                engine.meters.committing.note(time.monotonic() - sent_at)
            if any(code is None for _, _, code in results):
                engine.counters.commits += 1
                engine.broker_trouble = ""
            for place, offset, code in results:
                owned = engine.owned.get(place)
                if self._awaited.get(place, offset + 1) <= offset:
                    del self._awaited[place]
                if code is None:
                    if owned is not None and offset >= 0:
                        owned.committed = offset
                elif code != "_NO_OFFSET":
                    self._refused_at = time.monotonic()
                    engine.commit_errors[code] = engine.commit_errors.get(code, 0) + 1
                    self._answer(code, place, owned)
            self._look_who_waits()

    @property
    def _client(self) -> Source:
        assert self._source is not None  # noqa: S101 - open() comes first
        return self._source

    def _take(self, partitions: Iterable[Owned]) -> list[tuple[Place, int]]:
        """Return the offsets that moved, noting them as sent; mutex held."""
        offsets = []
        for owned in partitions:
            offset = owned.offsets.committable()
            if offset is None or owned.revoked or offset < owned.committed:
                continue
            note = self.notes.of(owned, offset)
            is_news = self.notes.is_news(owned.place, note)
            if is_news or (offset != owned.sent and offset > owned.committed):
                owned.sent = offset
                self.notes.sent(owned.place, note)
                if not self._is_automatic:
                    self._awaited[owned.place] = offset
                offsets.append((owned.place, offset))
        return offsets

    def _send(self, offsets: Sequence[tuple[Place, int]], now: float) -> None:
        if not offsets:
            return
        if self._is_automatic:
            self._client.store(offsets)
        else:
            self._sent_at = now
            self._client.commit(offsets, self.notes.texts)

    def _answer(self, code: str, place: Place, owned: Owned | None) -> None:
        """Do what a failed commit calls for; mutex held."""
        what = answer(code)
        fields = {"partition": f"{place[0]}/{place[1]}", "code": code, "then": what.name.lower()}
        logger.warning("commit.failed", extra={"fields": fields})
        match what:
            case Answer.KEEP | Answer.RETRY | Answer.DROP:
                # DROP too: on_lost follows and forgets it; where it does not (a cooperative rebalance that left us
                # the partition) it is still ours to commit, and perhaps nothing more settles that would.
                if owned is not None:
                    owned.sent = None
                    self.notes.refused(place, code)
                    self._engine.dirty.add(owned)
            case Answer.FENCED:
                self._engine.fenced(f"commit: {code}")
            case Answer.FATAL:
                self._engine.fail(ExitCode.KAFKA_FATAL, f"commit: {code}")
            case Answer.CONFIG:
                self._engine.fail(ExitCode.CONFIG, f"commit: {code}: not allowed for this group or topic")
