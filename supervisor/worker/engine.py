"""The shared state of a worker: what it owns, what is in its lanes, who polls. One mutex guards it all."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from supervisor.core.board import BoardWriter
from supervisor.core.events import Scalar, Severity
from supervisor.core.exits import ExitCode
from supervisor.core.lanes import Lane, Lanes
from supervisor.core.offsets import PartitionOffsets
from supervisor.core.spec import Ordering, WorkerSpec
from supervisor.link import Link
from supervisor.plugin.types import Message

logger = logging.getLogger(__name__)

Place = tuple[str, int]
Item = tuple["Owned", Message]

SLOW = 100e-6
"""Seconds per record from which lanes pay for themselves."""
LAST_WORDS = 1.0
MAIN = -1
"""The baton's holder when no handler thread has it."""


class Owned:
    """A partition during one ownership; a later ownership of the same partition is another object (the fence).

    ``revoked`` turns true once and for all: results that come later are dropped. ``topic_index`` stands for
    the topic on the board.
    """

    __slots__ = ("committed", "offsets", "partition", "place", "revoked", "sent", "topic_index")

    def __init__(self, place: Place, topic_index: int) -> None:
        self.place = place
        self.partition = place[1]
        self.topic_index = topic_index
        self.offsets = PartitionOffsets()
        self.revoked = False
        self.sent: int | None = None
        """The newest offset given to a commit, or to librdkafka's store."""
        self.committed = -1


@dataclass(slots=True)
class Counters:
    """Since the incarnation began."""

    settled: int = 0
    failed_attempts: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    commits: int = 0


class Run:
    """Records of one partition that one thread works in delivery order, without lanes.

    The thread pulls from ``rest``; whoever empties ``rest`` first has the remainder. Both are one bytecode on
    a list iterator, so the interpreter lock makes each take whole. ``end`` is the partition's end when it came
    with these records: it counts only after them.
    """

    __slots__ = ("end", "lane", "messages", "owned", "rest", "stolen")

    def __init__(self, owned: Owned, messages: list[Message], end: int | None) -> None:
        self.owned = owned
        self.messages = messages
        self.end = end
        self.rest = iter(messages)
        self.stolen = False
        self.lane: Lane[Item] | None = None
        """The lane that the record in its handler was put into when the run was stolen."""


class Serial:
    """The runs of one chunk, worked by the thread that polled it, which keeps the baton meanwhile."""

    __slots__ = ("cell", "current", "runs")

    def __init__(self, cell: int, runs: list[Run]) -> None:
        self.cell = cell
        self.runs = runs[::-1]
        self.current: Run | None = None


class Engine:
    """What all threads of a worker share. Every attribute but ``spec``, ``board`` and ``link`` needs ``mutex``."""

    def __init__(self, spec: WorkerSpec, board: BoardWriter, link: Link) -> None:
        self.spec = spec
        self.board = board
        self.link = link
        self.mutex = threading.Lock()
        self.work = threading.Condition(self.mutex)
        """Idle handler threads wait here."""
        self.progress = threading.Condition(self.mutex)
        """Whoever waits for records to settle (a revoke, the shutdown) waits here."""
        self.lanes: Lanes[Item] = Lanes()
        self.owned: dict[Place, Owned] = {}
        self.dirty: set[Owned] = set()
        """Owned partitions that something settled in since their offset last went to a commit."""
        self.counters = Counters()
        self.commit_errors: dict[str, int] = {}
        self.poller: int | None = None
        """The cell of the thread that holds the baton, ``MAIN``, or ``None``: free."""
        self.polled_at = time.monotonic()
        self.serial: Serial | None = None
        self.mean = 0.0
        """Running mean of seconds per record in the handler."""
        self.stopping = False
        self.drain_by = math.inf
        """When waiting for records in their handlers ends whatever waits: the stop's deadline, less what follows."""
        self.revoking = False
        self.paused: set[Place] = set()
        self.at_end: set[Place] = set()
        """Partitions whose end was reached and nothing came since."""
        self.ends: dict[Place, int | None] = {}
        """The end of each owned partition as last heard, ``None`` while unknown."""
        self.broker_trouble: str = ""
        self.joined_at: float | None = None
        """When the first assignment came."""
        self.rejoin = ""
        """Why the group must be left and joined again; the next holder of the baton does it."""
        self._end: tuple[ExitCode, str] | None = None
        self._lane_name = _lane_names(spec.group.ordering)

    @property
    def slow(self) -> bool:
        """Whether lanes are worth their cost now."""
        return self.mean > SLOW

    @property
    def end(self) -> tuple[ExitCode, str] | None:
        """Why the process must end, once it must."""
        return self._end

    def fail(self, code: ExitCode, reason: str) -> None:
        """Have the main thread end the process; the first reason stands. Any thread, mutex held or not."""
        if self._end is None:
            self._end = (code, reason)

    def crash(self, error: BaseException) -> None:
        """End the process at once, committing nothing: the engine's own state cannot be trusted. Any thread."""
        try:
            logger.critical("engine.crashed", exc_info=error)
            self.link.send("bye", code=int(ExitCode.ENGINE), reason=f"{type(error).__name__} in the engine")
            self.link.flush_until(time.monotonic() + LAST_WORDS)
        finally:
            os._exit(ExitCode.ENGINE)

    def event(self, name: str, severity: Severity, text: str, **fields: Scalar) -> None:
        """Tell the parent of an event; it writes the log line. Any thread, mutex not held: sending may block."""
        if self.link.lost:
            logger.warning(name, extra={"fields": fields})
            return
        self.link.send("event", name=name, severity=severity.value, text=text, fields=fields)

    def note_mean(self, seconds: float, records: int) -> None:
        """Fold a measured stretch of handler time into the mean; mutex held."""
        self.mean += (seconds / records - self.mean) * 0.2

    def spread(self, owned: Owned, messages: Sequence[Message], end: int | None) -> None:
        """Put delivered records into their lanes, and note the partition's ``end`` behind them; mutex held."""
        now = time.monotonic()
        owned.offsets.deliver([message.offset() or 0 for message in messages], now=now)
        for message in messages:
            lane = self.lanes.add(self._lane_name(owned, message), owned.place, (owned, message), size=_size(message))
            if lane.since is None:
                lane.since = now
            elif lane.filling and len(lane.items) >= self.spec.group.batch.size:
                self.lanes.hasten(lane, due=now)
        if end is not None:
            owned.offsets.advance(end)

    def adopt(self, owned: Owned, message: Message) -> Lane[Item]:
        """Make the lane of a record that is in its handler already; mutex held."""
        name = self._lane_name(owned, message)
        owned.offsets.deliver([message.offset() or 0], now=time.monotonic())
        return self.lanes.adopt(name, owned.place, (owned, message), size=_size(message))

    def settle_head(self, lane: Lane[Item]) -> bool:
        """Settle the head of a busy lane, or drop it when its ownership ended; mutex held. Tell whether it counted."""
        owned, message = lane.head
        self.lanes.settle_head(lane)
        if not owned.revoked:
            owned.offsets.settle(message.offset() or 0)
            self.counters.settled += 1
            self.dirty.add(owned)
        self.progress.notify_all()
        return not owned.revoked

    def settle_batch(self, lane: Lane[Item], settled: Sequence[bool]) -> None:
        """Settle what succeeded of the records a batch handler has in hand; mutex held."""
        for (owned, message), done in [(lane.items[at][0], done) for at, done in enumerate(settled)]:
            if done and not owned.revoked:
                owned.offsets.settle(message.offset() or 0)
                self.counters.settled += 1
                self.dirty.add(owned)
        self.lanes.settle_batch(lane, settled)
        self.progress.notify_all()

    def drop_revoked(self, lane: Lane[Item]) -> None:
        """Forget the records at the front of a busy lane whose ownership ended before they were begun; mutex held."""
        while lane.items and lane.head[0].revoked:
            self.lanes.settle_head(lane)
        self.progress.notify_all()

    def settle_run(self, owned: Owned, position: int, records: int) -> None:
        """Settle a stretch of a serial run, up to ``position``; mutex held."""
        owned.offsets.advance(position)
        self.counters.settled += records
        self.dirty.add(owned)

    def release_baton(self) -> None:
        """Let another thread poll; mutex held."""
        self.poller = None
        self.work.notify()
        self.progress.notify_all()


def _size(message: Message) -> int:
    return len(message.value() or b"")


def _lane_names(ordering: Ordering) -> Callable[[Owned, Message], Hashable]:
    """Return what names a record's lane: its partition, its partition and key, or itself alone."""
    if ordering is Ordering.PARTITION:
        return lambda owned, _message: owned.place

    def alone(owned: Owned, message: Message) -> Hashable:
        return (owned.place, message.offset())

    if ordering is Ordering.NONE:
        return alone

    def by_key(owned: Owned, message: Message) -> Hashable:
        key = message.key()
        return alone(owned, message) if key is None else (owned.place, key)

    return by_key
