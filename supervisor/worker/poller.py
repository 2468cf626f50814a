"""What the holder of the baton does: poll, hand out what came, hold back, commit, and obey rebalances.

Only the holder's thread calls in here (``source`` callbacks run inside its polls); nothing here ever waits
for Kafka but a revoke's commit, which must be done before the partition is somebody else's.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from supervisor.core.board import H_TICK_NS
from supervisor.core.commits import Answer, answer
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.kafka.consumer import Source, error_of, partition_of, topic_of, trouble_of
from supervisor.plugin.active import Active
from supervisor.plugin.types import Message
from supervisor.worker.engine import Engine, Owned, Place, Run, Serial

logger = logging.getLogger(__name__)

CHUNK = 1000
GAP_CHECK = 0.1
ENDS_INTERVAL = 0.5
STORE_INTERVAL = 0.1
COMMIT_PATIENCE = 30.0
REVOKE_COMMITS = 3
TROUBLE_LOG = 30.0
NOT_ALLOWED = frozenset({"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"})


class Poller:
    """The baton's work; also the ``Listener`` of the consumer."""

    def __init__(self, engine: Engine, active: Active) -> None:
        self._engine = engine
        self._active = active
        self._commit = engine.spec.group.commit
        self._group = engine.spec.group
        topics = self._group.topics
        self._only_topic = topics[0] if len(topics) == 1 and not topics[0].startswith("^") else None
        self._batches = active.process_batch is not None
        self._source: Source | None = None
        self._full = False
        self._chunk = max(1, min(CHUNK, self._group.max_gap // 2))
        self._gap_bound = self._group.max_gap - self._chunk
        """From here on a partition pauses; one chunk may be on its way already (P3)."""
        self._held_back: set[Place] = set()
        self._gap_checked = 0.0
        self._commit_sent: float | None = None
        self._committed_at = time.monotonic()
        self._settled_at_commit = 0
        self._trouble_logged = 0.0
        self._ends_noted = 0.0
        self.closing = False
        """Once true, callbacks only tidy up: records are drained and committed already."""

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""
        self._source = source

    @property
    def source(self) -> Source:
        """The consumer; the holder's alone."""
        assert self._source is not None  # noqa: S101 - open() comes first
        return self._source

    def poll(self, timeout: float) -> list[Message]:
        """Poll one chunk, pausing or resuming first as the lanes demand."""
        now = time.monotonic()
        self._engine.board.words[H_TICK_NS] = time.monotonic_ns()
        self._engine.polled_at = now
        self._hold_back(now)
        if now - self._ends_noted >= ENDS_INTERVAL:
            self._ends_noted = now
            self._note_ends()
        return self.source.poll(timeout, self._chunk)

    def accept(self, messages: list[Message], *, cell: int | None) -> Serial | None:
        """Hand out a chunk: to lanes, or back as serial work for the thread that owns ``cell``."""
        if not messages:
            return None
        if any(map(error_of, cast("Any", messages))):
            messages = self._without_errors(messages)
        engine = self._engine
        runs: list[Run] = []
        begun: list[tuple[Place, int]] = []
        with engine.mutex:
            if engine.stopping:
                return None
            spread = cell is None or engine.slow or self._batches
            for place, batch in _by_partition(messages, self._only_topic) if messages else ():
                owned = engine.owned.get(place)
                if owned is None:
                    continue  # revoked within this very poll: another member will get it
                engine.at_end.discard(place)
                if owned.sent is None:
                    owned.sent = batch[0].offset() or 0
                    begun.append((place, owned.sent))
                if spread or engine.lanes.held(place):
                    engine.spread(owned, batch)
                    if owned.offsets.gap >= self._gap_bound:
                        self._held_back.add(place)
                else:
                    runs.append(Run(owned, batch))
            serial = engine.serial = Serial(cell, runs) if runs and cell is not None else None
        # Pin where this ownership began: with ``auto.offset.reset = latest`` a crash before the first commit
        # would otherwise skip what was delivered and not settled.
        self._send(begun, time.monotonic())
        return serial

    def commit_if_due(self) -> None:
        """Send a commit in the background when enough was settled, or long enough ago; never waits for it."""
        now = time.monotonic()
        engine = self._engine
        automatic = self._commit.mode == "automatic"
        with engine.mutex:
            if not engine.dirty:
                return
            elapsed = now - self._committed_at
            interval = STORE_INTERVAL if automatic else self._commit.interval
            counted = not automatic and engine.counters.settled - self._settled_at_commit >= self._commit.count
            if elapsed < interval and not counted:
                return
            if self._commit_sent is not None and now - self._commit_sent < COMMIT_PATIENCE:
                return
            offsets = self._take_committable(engine.dirty)
            engine.dirty.clear()
            self._committed_at = now
            self._settled_at_commit = engine.counters.settled
        self._send(offsets, now)

    def _send(self, offsets: list[tuple[Place, int]], now: float) -> None:
        if not offsets:
            return
        if self._commit.mode == "automatic":
            self.source.store(offsets)
        else:
            self._commit_sent = now
            self.source.commit(offsets)

    def commit_rest(self, deadline: float) -> None:
        """Commit what is committable and wait for the answer until ``deadline``; the shutdown's last act."""
        engine = self._engine
        with engine.mutex:
            offsets = self._take_committable(engine.owned.values())
            engine.dirty.clear()
        if self._commit_sent is not None:
            self._await_commit(deadline)
        self._send(offsets, time.monotonic())
        self._await_commit(deadline)

    def _await_commit(self, deadline: float) -> None:
        while self._commit_sent is not None and time.monotonic() < deadline and self._engine.end is None:
            self.accept(self.poll(0.02), cell=None)

    def _take_committable(self, partitions: Iterable[Owned]) -> list[tuple[Place, int]]:
        """Return the offsets that moved, noting them as sent; mutex held."""
        offsets = []
        for owned in partitions:
            offset = owned.offsets.committable()
            if offset is not None and not owned.revoked and offset != owned.sent and offset > owned.committed:
                owned.sent = offset
                offsets.append((owned.place, offset))
        return offsets

    # --- holding back -----------------------------------------------------------------------------------

    def _hold_back(self, now: float) -> None:
        """Pause what must not deliver more (full lanes, a gap at its bound, a shutdown); resume what may."""
        engine, group = self._engine, self._group
        with engine.mutex:
            lanes = engine.lanes
            if not lanes.count and not engine.paused and not engine.stopping:
                return
            if lanes.count >= group.queue_records or lanes.size >= group.queue_bytes:
                self._full = True
            elif lanes.count <= group.queue_records // 2 and lanes.size <= group.queue_bytes // 2:
                self._full = False
            if now - self._gap_checked >= GAP_CHECK or not lanes.count:
                self._gap_checked = now
                self._release_gaps()
            wanted = set(engine.owned) if self._full or engine.stopping else self._held_back & set(engine.owned)
            pause = wanted - engine.paused
            resume = [
                (place, engine.owned[place].offsets.position)
                for place in engine.paused - wanted
                if place in engine.owned
            ]
            engine.paused = wanted
        if pause:
            self.source.pause(sorted(pause))
        if resume:
            self.source.resume(resume)

    def _note_ends(self) -> None:
        """Note where the owned partitions end, for the lag; only the holder may ask the client."""
        ends = {place: self.source.high_watermark(place) for place in list(self._engine.owned)}
        with self._engine.mutex:
            self._engine.ends = ends

    def _release_gaps(self) -> None:
        """Let go on the partitions whose oldest record does not hold much back any more; mutex held."""
        for place in list(self._held_back):
            owned = self._engine.owned.get(place)
            if owned is None or owned.offsets.gap <= self._gap_bound // 2:
                self._held_back.discard(place)

    # --- what poll brought beside records ---------------------------------------------------------------

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        good = []
        for message in messages:
            trouble = trouble_of(message)
            if trouble is None:
                good.append(message)
            elif trouble[0] == "_PARTITION_EOF":
                self._partition_end(message)
            else:
                self._trouble(*trouble)
        return good

    def _partition_end(self, message: Message) -> None:
        """Note an end of partition; with nothing unsettled its offset is committable, past control records."""
        engine = self._engine
        with engine.mutex:
            owned = engine.owned.get((message.topic() or "", message.partition() or 0))
            if owned is None:
                return
            engine.at_end.add(owned.place)
            if owned.offsets.position is not None:
                owned.offsets.advance(message.offset() or 0)
                engine.dirty.add(owned)

    def client_error(self, code: str, text: str) -> None:
        """Note trouble with brokers; the client goes on by itself, so this is only to be seen."""
        if code in ("_FATAL", "FENCED_INSTANCE_ID"):
            self._trouble(code, text)
            return
        self._engine.broker_trouble = code
        now = time.monotonic()
        if now - self._trouble_logged >= TROUBLE_LOG:
            self._trouble_logged = now
            logger.warning("broker.trouble", extra={"fields": {"code": code, "text": text}})

    def _trouble(self, code: str, text: str) -> None:
        if "fenced" in text.lower() or code in ("FENCED_INSTANCE_ID", "UNRELEASED_INSTANCE_ID"):
            self._engine.fail(ExitCode.FENCED, text)
        elif code == "_FATAL":
            self._engine.fail(ExitCode.KAFKA_FATAL, text)
        elif code in NOT_ALLOWED:
            self._engine.fail(ExitCode.CONFIG, f"{code}: {text}")
        elif code == "_MAX_POLL_EXCEEDED":
            self._engine.event("worker.poll_exceeded", Severity.WARNING, text)
        else:
            self.client_error(code, text)

    # --- Listener ---------------------------------------------------------------------------------------

    def assigned(self, places: Sequence[Place]) -> None:
        """Own what was assigned; its pause flags were cleared when it was last given up."""
        engine = self._engine
        with engine.mutex:
            for place in places:
                engine.owned[place] = Owned(place)
        logger.info("partitions.assigned", extra={"fields": {"partitions": _words(places)}})
        if places:
            self._active.partitions_assigned(list(places))
        self._tell_owned()

    def revoked(self, places: Sequence[Place]) -> None:
        """Drain what can finish in time, commit it, and fence the rest by ending this ownership."""
        if not self.closing:
            self._drain(places)
        self._disown(places, lost=False)

    def lost(self, places: Sequence[Place]) -> None:
        """Drop everything: another member may own these partitions already, nothing may be committed."""
        self._disown(places, lost=True)

    def _drain(self, places: Sequence[Place]) -> None:
        engine = self._engine
        gone = set(places)
        deadline = time.monotonic() + self._group.revoke_timeout
        with engine.mutex:
            engine.revoking = True
            engine.lanes.purge(gone)
            while engine.lanes.working(gone) and (left := deadline - time.monotonic()) > 0 and engine.end is None:
                engine.progress.wait(min(left, 1.0))
            mine = [engine.owned[place] for place in places if place in engine.owned]
            offsets = self._take_committable(mine)
            engine.revoking = False
        if not offsets:
            return
        if self._commit.mode == "automatic":
            # librdkafka commits what is stored before it gives the partitions up.
            self.source.store(offsets)
            return
        for _ in range(REVOKE_COMMITS):
            results = self.source.commit_now(offsets)
            self.committed(results)
            offsets = [(place, offset) for place, offset, code in results if code and answer(code) is Answer.RETRY]
            if not offsets:
                return

    def _disown(self, places: Sequence[Place], *, lost: bool) -> None:
        engine = self._engine
        with engine.mutex:
            engine.lanes.purge(set(places))
            for place in places:
                owned = engine.owned.pop(place, None)
                if owned is not None:
                    owned.revoked = True
                    engine.dirty.discard(owned)
                engine.at_end.discard(place)
                self._held_back.discard(place)
            paused = engine.paused & set(places)
            engine.paused -= paused
        if paused and not self.closing:
            # The client keeps a pause flag over revoke and re-assignment.
            self.source.resume([(place, None) for place in sorted(paused)])
        logger.info(
            "partitions.lost" if lost else "partitions.revoked", extra={"fields": {"partitions": _words(places)}}
        )
        if places:
            self._active.partitions_revoked(list(places), lost=lost)
        self._tell_owned()

    def committed(self, results: Sequence[tuple[Place, int, str | None]]) -> None:
        """Take a commit's outcome, partition by partition."""
        engine = self._engine
        self._commit_sent = None
        with engine.mutex:
            engine.counters.commits += 1
            engine.broker_trouble = ""
            for place, offset, code in results:
                owned = engine.owned.get(place)
                if code is None:
                    if owned is not None and offset >= 0:
                        owned.committed = offset
                elif code != "_NO_OFFSET":
                    engine.commit_errors[code] = engine.commit_errors.get(code, 0) + 1
                    self._answer(code, place, owned)

    def _answer(self, code: str, place: Place, owned: Owned | None) -> None:
        """Do what a failed commit calls for; mutex held."""
        what = answer(code)
        logger.warning(
            "commit.failed", extra={"fields": {"partition": _words([place]), "code": code, "then": what.name.lower()}}
        )
        match what:
            case Answer.KEEP | Answer.RETRY:
                if owned is not None:
                    owned.sent = None
                    self._engine.dirty.add(owned)
            case Answer.DROP:
                # on_lost follows; if it does not, the partition is still ours and its next commit says so.
                if owned is not None:
                    owned.sent = None
            case Answer.FENCED:
                self._engine.fail(ExitCode.FENCED, f"commit: {code}")
            case Answer.FATAL:
                self._engine.fail(ExitCode.KAFKA_FATAL, f"commit: {code}")
            case Answer.CONFIG:
                self._engine.fail(ExitCode.CONFIG, f"commit: {code}: not allowed for this group or topic")

    def crashed(self, error: BaseException) -> None:
        """End the process: a callback must not raise into the client."""
        self._engine.crash(error)

    def _tell_owned(self) -> None:
        with self._engine.mutex:
            owned = sorted(self._engine.owned)
        self._engine.link.send("assigned", partitions=owned)


def _by_partition(messages: list[Message], only_topic: str | None) -> list[tuple[Place, list[Message]]]:
    """Group a chunk by partition, order kept within each; ``only_topic`` saves looking when there is one.

    On the hot path: the loops over messages are C's own, or as small as they get.
    """
    if only_topic is not None:
        return [((only_topic, partition), batch) for partition, batch in _grouped(messages, partition_of).items()]
    return [
        ((topic, partition), batch)
        for topic, of_topic in _grouped(messages, topic_of).items()
        for partition, batch in _grouped(of_topic, partition_of).items()
    ]


def _grouped(messages: list[Message], name_of: Callable[[Any], Any]) -> dict[Any, list[Message]]:
    names = list(map(name_of, messages))
    if names.count(names[0]) == len(names):
        return {names[0]: messages}
    groups: dict[Any, list[Message]] = {name: [] for name in dict.fromkeys(names)}
    adders = {name: group.append for name, group in groups.items()}
    for name, message in zip(names, messages, strict=True):
        adders[name](message)
    return groups


def _words(places: Sequence[Place]) -> str:
    return " ".join(f"{topic}/{partition}" for topic, partition in places) or "none"
