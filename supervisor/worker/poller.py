"""What the holder of the baton does: poll, and hand out what came.

Only the holder's thread calls in here, and into ``committer`` and ``ownership``; the consumer's callbacks run
inside its polls. Nothing here waits for Kafka but a revoke's commit, which must be done before the partition
is somebody else's.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from supervisor.core.board import H_TICK_NS
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.lane import Place
from supervisor.core.retry_topics import retry_topics, subscription
from supervisor.kafka.consumer import Source, error_of, partition_of, topic_of, trouble_of
from supervisor.plugin.types import Message
from supervisor.worker.beginnings import CODES as LOST
from supervisor.worker.beginnings import Beginnings
from supervisor.worker.committer import Commits, Results
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Owned
from supervisor.worker.ownership import Ownership
from supervisor.worker.pressure import Pressure
from supervisor.worker.runs import Run, Serial, due_batches, into_lanes, run_of
from supervisor.worker.troubles import NO_TOPIC, Troubles
from supervisor.worker.waits import Waits

logger = logging.getLogger(__name__)

ENDS_INTERVAL = 0.5
REJOIN_PATIENCE = 5.0
LEAVE_POLL = 0.2
"""Seconds of polling in which a LeaveGroup is sent."""
FENCED = frozenset({"FENCED_INSTANCE_ID", "UNRELEASED_INSTANCE_ID"})
NOT_ALLOWED = frozenset({"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"})


class Poller:
    """The baton's work; also the ``Listener`` of the consumer."""

    def __init__(self, engine: Engine, ownership: Ownership, committer: Commits) -> None:
        self._engine = engine
        self._ownership = ownership
        self._committer = committer
        self._notes = committer.notes
        self.beginnings = Beginnings(engine, committer)
        self._group = engine.spec.group
        self._source: Source | None = None
        topics = subscription(self._group)
        self._only_topic = topics[0] if len(topics) == 1 and not topics[0].startswith("^") else None
        self._waits = Waits(engine, retry_topics(self._group))
        self._pressure = Pressure(engine, committer.notes)
        self._troubles = Troubles(engine)
        self._ends_noted_at = 0.0

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""
        self._source = source
        self._ownership.open(source)
        self._committer.open(source)
        self.beginnings.open(source)

    @property
    def source(self) -> Source:
        """The consumer; the holder's alone."""
        assert self._source is not None  # noqa: S101 - open() comes first
        return self._source

    def poll(self, timeout: float) -> list[Message]:
        """Poll as much as there is room for, at most a chunk, pausing or resuming first where that must be."""
        now = time.monotonic()
        self._engine.board.words[H_TICK_NS] = time.monotonic_ns()
        self._engine.polled_at = now
        room = self._pressure.room(now)
        if not room:
            self._pressure.await_room(timeout)
            return []
        self.source.begin_paused = self._engine.reads_nothing
        self._pressure.apply(self.source, now)
        if not self._engine.stopping:
            self.beginnings.serve()
        if now - self._ends_noted_at >= ENDS_INTERVAL:
            self._ends_noted_at = now
            self._note_ends()
            self._troubles.look(now)
        if self._engine.rejoin and self._engine.joined_at is not None and not self._engine.stopping:
            self._join_again()
        if self._engine.subscribe_again and not self._engine.stopping:
            self._engine.subscribe_again = False
            self.source.subscribe()
        self._waits.seek(self.source)
        return self.source.poll(timeout, room)

    def _join_again(self) -> None:
        """Leave the group and join it, so that it shares its partitions out anew (see ``mending``)."""
        engine = self._engine
        engine.event("group.rejoined", Severity.WARNING, f"leaves the group and joins it again: {engine.rejoin}")
        engine.rejoin = ""
        self.source.unsubscribe()
        deadline = time.monotonic() + self._group.revoke_timeout + REJOIN_PATIENCE
        while engine.owned and time.monotonic() < deadline and engine.end is None:
            engine.board.words[H_TICK_NS] = time.monotonic_ns()
            self.accept(self.source.poll(LEAVE_POLL, self._pressure.chunk), cell=None)
        self.source.poll(LEAVE_POLL, 1)
        if not engine.stopping:
            self.source.subscribe()

    def accept(self, messages: list[Message], *, cell: int | None) -> Serial | None:
        """Hand out a chunk: to lanes, or back as serial work for the thread that owns ``cell``."""
        engine = self._engine
        if not messages and not engine.filling:
            return None
        if messages:
            engine.broker_trouble = ""
            self._pressure.took(messages)
        ends: dict[Place, int] = {}
        if any(map(error_of, cast("Any", messages))):
            messages, ends = self._sorted_out(messages)
        runs: list[Run] = []
        begun: list[tuple[Place, int]] = []
        with engine.mutex:
            if engine.stopping:
                return None
            by_partition = _by_partition(messages, self._only_topic) if messages else []
            engine.quarantine.delivered(by_partition, self._notes.claimed)
            engine.meters.took(len(messages))
            spread = cell is None or engine.slow or engine.lanes.closed != 0
            for place, batch in by_partition:
                owned = engine.owned.get(place)
                if owned is None:
                    continue  # revoked within this very poll: another member will get it
                if place[0] in self._waits.topics:
                    batch = self._waits.due(owned, batch, ends)  # noqa: PLW2901 - what of it is to be worked now
                if batch:
                    self._begin(owned, batch, begun)
                    runs += self._hand_out(owned, batch, ends.pop(place, None), spread=spread)
            runs += self._left_over(ends, runs, spread=spread)
        self._committer.begin(begun)
        return self._serial(runs, cell)

    def _begin(self, owned: Owned, batch: Sequence[Message], begun: list[tuple[Place, int]]) -> None:
        """Note where a partition begins, if it does, and that nothing was committed for it; mutex held."""
        if owned.offsets.position is None:
            owned.sent = batch[0].offset() or 0
            if owned.committed < 0:
                begun.append((owned.place, owned.sent))

    def _serial(self, runs: list[Run], cell: int | None) -> Serial | None:
        """Make runs the serial chunk of their thread: from now on they, and the baton, can be taken from it."""
        engine = self._engine
        with engine.mutex:
            if not runs or cell is None or engine.stopping:
                return None
            serial = engine.serial = Serial(cell, runs)
        return serial

    def _hand_out(self, owned: Owned, batch: list[Message], end: int | None, *, spread: bool) -> list[Run]:
        """Put a partition's records into lanes, or return them as a run; mutex held."""
        engine, place = self._engine, owned.place
        if end is not None and end > (batch[-1].offset() or 0):
            engine.at_end.add(place)
        else:
            engine.at_end.discard(place)
        run = None
        returns = place[0] in self._waits.topics
        into = self._waits.spread if returns else engine.spread
        if place in self._notes.claimed:
            self._notes.spread(owned, batch, into)
        elif spread or returns:
            into_lanes(engine, owned, ())
            into(owned, batch)
        else:
            run = run_of(engine, owned, batch)
        if end is not None:
            owned.offsets.advance(end)
        self._pressure.handed_out(owned, run)
        return [run] if run is not None else []

    def _left_over(self, ends: dict[Place, int], runs: list[Run], *, spread: bool) -> list[Run]:
        """Note partition ends that came alone; return the batches that waited long enough (lanes may wait instead)."""
        engine = self._engine
        for place, end in ends.items():
            self._partition_end(place, end)
        if not spread:
            return due_batches(engine, runs)
        for owned in list(engine.filling):
            into_lanes(engine, owned, ())
        return []

    def _note_ends(self) -> None:
        """Note where the owned partitions end, for the lag; only the holder may ask the client."""
        ends = {place: self.source.high_watermark(place) for place in list(self._engine.owned)}
        with self._engine.mutex:
            self._engine.ends = ends

    # --- what poll brought beside records ---------------------------------------------------------------

    def _sorted_out(self, messages: list[Message]) -> tuple[list[Message], dict[Place, int]]:
        """Return the records of a chunk, and the ends of partitions that came with them."""
        good: list[Message] = []
        ends: dict[Place, int] = {}
        for message in messages:
            trouble = trouble_of(message)
            if trouble is None:
                good.append(message)
            elif trouble[0] == "_PARTITION_EOF":
                ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
            elif trouble[0] in LOST:
                self.beginnings.heard((message.topic() or "", message.partition() or 0), message.offset())
            elif trouble[0] in NO_TOPIC and message.topic() in self._waits.topics:
                pass  # ``retry_topics`` makes it, and tells when it cannot
            elif trouble[0] in NO_TOPIC:
                self._troubles.no_topic(message.topic() or "", trouble[1])
            else:
                self._trouble(*trouble)
        return good, ends

    def _partition_end(self, place: Place, end: int) -> None:
        """Note an end of partition: with nothing unsettled it is committable, past control records; mutex held.

        Only once every record before it was handed out: what is thrown away while stopping must not be passed.
        With no record at all it is committed, too: there was nothing but control records, and lag reaches 0.
        """
        owned = self._engine.owned.get(place)
        if owned is None or (owned.later is not None and self._waits.passed_over(owned)):
            return
        self._engine.at_end.add(place)
        owned.offsets.advance(end)
        self._engine.dirty.add(owned)

    def _trouble(self, code: str, text: str) -> None:
        if code in FENCED or (code == "_FATAL" and "fenced" in text.lower()):
            self._engine.fenced(text)
        elif code == "_FATAL":
            self._engine.fail(ExitCode.KAFKA_FATAL, text)
        elif code in NOT_ALLOWED:
            self._engine.fail(ExitCode.CONFIG, f"{code}: {text}")
        elif code == "_MAX_POLL_EXCEEDED":
            self._engine.event("worker.poll_exceeded", Severity.WARNING, text)
        else:
            self._troubles.note(code, text)

    # --- Listener ---------------------------------------------------------------------------------------

    def assigned(self, places: Sequence[Place]) -> None:
        """See ``ownership``."""
        self._troubles.there(topic for topic, _ in places)
        self._ownership.assigned(places)

    def revoked(self, places: Sequence[Place]) -> None:
        """See ``ownership``."""
        self._ownership.revoked(places)

    def lost(self, places: Sequence[Place]) -> None:
        """See ``ownership``."""
        self._ownership.lost(places)

    def committed(self, results: Results) -> None:
        """See ``committer``."""
        self._committer.committed(results)

    def client_error(self, code: str, text: str) -> None:
        """Note trouble with brokers: the client goes on by itself, so it is only to be seen; fatal errors end."""
        if code == "_FATAL" or code in FENCED:
            self._trouble(code, text)
        else:
            self._troubles.note(code, text)

    def crashed(self, error: BaseException) -> None:
        """End the process: a callback must not raise into the client."""
        self._engine.crash(error)


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
