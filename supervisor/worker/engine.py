"""The shared state of a worker: what it owns, what is in its lanes, who polls. One mutex guards it all."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING

from supervisor.core.board import C_ATTEMPT, C_LAST_OFFSET, C_PARTITION, C_SEQUENCE, C_TOPIC, IDLE, BoardWriter
from supervisor.core.events import Scalar, Severity
from supervisor.core.exits import ExitCode
from supervisor.core.lane import Lane, Place
from supervisor.core.lanes import HELD, Lanes
from supervisor.core.spec import Ordering, WorkerSpec
from supervisor.link import Link
from supervisor.plugin.types import Message
from supervisor.worker.meters import Counters, Meters
from supervisor.worker.owned import Item, Owned
from supervisor.worker.quarantine import Quarantine

if TYPE_CHECKING:
    from supervisor.plugin.idempotency import Guard
    from supervisor.worker.outlet import Outlet
    from supervisor.worker.runs import Serial

logger = logging.getLogger(__name__)

SLOW = 100e-6
"""Seconds per record from which lanes pay for themselves."""
SLOW_BATCH = 2e-3
"""Seconds per batch from which several threads pay for themselves."""
LAST_WORDS = 1.0
MAIN = -1
"""The baton's holder when no handler thread has it."""


class Engine:
    """What all threads of a worker share. Every attribute but ``spec``, ``board`` and ``link`` needs ``mutex``."""

    def __init__(  # noqa: PLR0915 - the state of a whole worker, each part with its meaning
        self, spec: WorkerSpec, board: BoardWriter, link: Link, *, in_batches: bool = False
    ) -> None:
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
        self.later: set[Owned] = set()
        """Owned retry partitions whose next record is not due."""
        self.filling: set[Owned] = set()
        """Owned partitions with records that wait for more to make a batch."""
        self.is_full = False
        """Whether there is no room for more records, so that no batch needs to wait for any."""
        self.dirty: set[Owned] = set()
        """Owned partitions that something settled in since their offset last went to a commit."""
        self.counters = Counters()
        self.meters = Meters()
        self.commit_errors: dict[str, int] = {}
        self.poller: int | None = None
        """The cell of the thread that holds the baton, ``MAIN``, or ``None``: free."""
        self.polled_at = time.monotonic()
        self.serial: Serial | None = None
        self.in_batches = in_batches
        self.mean = 0.0
        """Running mean of seconds per call of the handler."""
        self.slow_from = SLOW_BATCH if in_batches else SLOW
        self.stopping = False
        self.drain_by = math.inf
        """When waiting for records in their handlers ends whatever waits: the stop's deadline, less what follows."""
        self.revoking = False
        self.on_hold = False
        """Whether an operator wants nothing to be read."""
        self.sips = 0
        """How many records are wanted that can be tried, though all are held back."""
        self.paused: set[Place] = set()
        self.at_end: set[Place] = set()
        """Partitions whose end was reached and nothing came since."""
        self.stopped: dict[Place, str] = {}
        """Owned partitions that nothing is read from until somebody says where to go on, and why."""
        self.ends: dict[Place, int | None] = {}
        """The end of each owned partition as last heard, ``None`` while unknown."""
        self.broker_trouble: str = ""
        self.joined_at: float | None = None
        """When the first assignment came."""
        self.is_out = False
        """Whether the membership was lost, and the group not joined again yet."""
        self.rejoin = ""
        """Why the group must be left and joined again; the next holder of the baton does it."""
        self.subscribe_again = False
        """Whether topics of the subscription are there since it was made; the next holder of the baton looks."""
        self._numbers: dict[Place, int] = {}
        self._end: tuple[ExitCode, str] | None = None
        self.guard: Guard | None = None
        """Who keeps the keys of worked records, for those who count; set before any thread starts."""
        self.outlet: Outlet | None = None
        """Where outputs go; set before any thread starts."""
        self.lanes.alone.gate = self.quarantine = Quarantine(self)
        self._lane_name = _lane_names(Ordering.PARTITION if in_batches else spec.group.ordering)

    def number_of(self, place: Place) -> int:
        """Return what stands for a partition in lanes' names; mutex held."""
        return self._numbers.setdefault(place, len(self._numbers))

    @property
    def slow(self) -> bool:
        """Whether lanes are worth their cost now."""
        return self.mean > self.slow_from

    @property
    def reads_nothing(self) -> bool:
        """Whether no record is to be read now, whatever there is room for."""
        wants_more = self.sips and not (self.lanes.has_next or self.is_full)
        return self.on_hold or (self.lanes.closed & HELD != 0 and not wants_more)

    @property
    def end(self) -> tuple[ExitCode, str] | None:
        """Why the process must end, once it must."""
        return self._end

    def fail(self, code: ExitCode, reason: str) -> None:
        """Have the main thread end the process; the first reason stands. Any thread, mutex held or not."""
        if self._end is None:
            self._end = (code, reason)

    def fenced(self, reason: str) -> None:
        """Have the process end because brokers know another member by its name. Any thread, mutex held or not.

        Unless its own membership was lost, and the client has not joined again: a commit that waited in it for a broker
        goes without a member id then, and that alone is answered as fencing.
        """
        if self.is_out:
            why = "its membership was lost, and what it sent before that is refused as another member's"
            self.fail(ExitCode.KAFKA_FATAL, why)
        else:
            self.fail(ExitCode.FENCED, reason)

    def crash(self, error: BaseException) -> None:
        """End the process at once, committing nothing: the engine's own state cannot be trusted. Any thread."""
        try:
            logger.critical("engine.crashed", exc_info=error)
            self.link.send("bye", code=int(ExitCode.ENGINE), reason=f"{type(error).__name__} in the engine")
            self.link.flush_until(time.monotonic() + LAST_WORDS)
        finally:
            os._exit(ExitCode.ENGINE)

    def event(self, name: str, severity: Severity, text: str, stack: str = "", /, **fields: Scalar) -> None:
        """Tell the parent of an event; it writes the log line. Any thread, mutex not held: sending may block.

        ``stack`` is attached.
        """
        if self.link.lost:
            logger.warning(name, extra={"fields": fields})
            return
        self.link.send("event", name=name, severity=severity.value, text=text, fields=fields, stack=stack)

    def note_mean(self, seconds: float, calls: int) -> None:
        """Fold a measured stretch of handler time into the mean; mutex held."""
        self.mean += (seconds / calls - self.mean) * 0.2

    def spread(self, owned: Owned, messages: Sequence[Message]) -> None:
        """Put delivered records into their lanes; mutex held."""
        owned.offsets.deliver([message.offset() or 0 for message in messages], now=time.monotonic())
        self.enqueue(owned, messages)

    def enqueue(self, owned: Owned, messages: Sequence[Message]) -> None:
        """Put records into their lanes whose offsets are open already; mutex held."""
        if not self.in_batches:
            name_of = self._lane_name
            self.lanes.extend(
                owned.place, [(name_of(owned, message), ((owned, message), _size(message))) for message in messages]
            )
            return
        now = time.monotonic()
        for message in messages:
            lane = self.lanes.add(self._lane_name(owned, message), owned.place, (owned, message), size=_size(message))
            if lane.since is None:
                lane.since = now
            elif lane.filling and len(lane.items) >= self.spec.group.batch.size:
                self.lanes.hasten(lane, due=now)

    def sift(self, owned: Owned, messages: list[Message]) -> tuple[list[Message], list[Message]]:
        """Return the records that are free to be worked, and those that must wait for others in lanes; mutex held."""
        if not self.lanes.held(owned.place):
            return messages, []
        free: list[Message] = []
        waiting: list[Message] = []
        for message in messages:
            (waiting if self._lane_name(owned, message) in self.lanes else free).append(message)
        return free, waiting

    def purge(self, places: Collection[Place]) -> None:
        """Forget all of these partitions that nobody has begun; mutex held."""
        self.lanes.purge(places)
        for owned in [owned for owned in self.filling if owned.place in places]:
            self.fill(owned, [])

    def fill(self, owned: Owned, messages: list[Message]) -> None:
        """Let these, and no others, wait for more to make a batch; mutex held."""
        owned.filling = messages
        owned.filling_size = sum(map(_size, messages))
        if messages:
            self.filling.add(owned)
        else:
            self.filling.discard(owned)

    def note_room(self, room: int) -> None:
        """Have batches worked as they are when there is no room to fill them; mutex held."""
        was_full, self.is_full = self.is_full, room <= 0
        if self.is_full and not was_full and self.in_batches:
            self.lanes.hasten_filling(due=time.monotonic())

    def can_fill(self, owned: Owned) -> bool:
        """Tell whether more records of a partition may come, that a batch could wait for; mutex held."""
        return not self.is_full and owned.place not in self.paused

    def held(self, place: Place) -> tuple[int, int]:
        """Return how many records a partition has in lanes or kept for their outputs, and their bytes; mutex held."""
        records, size = self.lanes.held(place), self.lanes.held_size(place)
        owned = self.owned.get(place)
        if owned is not None and owned.outputs:
            outputs = list(owned.outputs.values())
            records, size = records + len(outputs), size + sum(one.size for one in outputs)
        return records, size

    @property
    def queued(self) -> int:
        """How many records are held beside those of the run in progress; mutex held."""
        held = self.outlet.held if self.outlet is not None else 0
        return self.lanes.count + sum(len(owned.filling) for owned in self.filling) + held

    @property
    def queued_size(self) -> int:
        """Their bytes; mutex held."""
        filling = sum(owned.filling_size for owned in self.filling)
        return self.lanes.size + filling + (self.outlet.size if self.outlet is not None else 0)

    def next_due(self) -> float | None:
        """Return when (monotonic) the next retry or the next batch is due; mutex held."""
        age = self.spec.group.batch.age
        dues = [owned.filling_since + (age if self.can_fill(owned) else 0.0) for owned in self.filling]
        timer = self.lanes.next_due()
        if timer is not None:
            dues.append(timer)
        return min(dues, default=None)

    def adopt(self, owned: Owned, messages: Sequence[Message]) -> Lane[Item]:
        """Make the lane of records that are in their handler already; mutex held."""
        name = self._lane_name(owned, messages[0])
        return self.lanes.adopt(name, owned.place, [((owned, message), _size(message)) for message in messages])

    def adopt_alone(self, owned: Owned, message: Message) -> Lane[Item]:
        """Make a lane for one open record that its own lane is done with; mutex held."""
        name = ("alone", owned.place, message.offset())
        return self.lanes.adopt(name, owned.place, [((owned, message), _size(message))])

    def settle_head(self, lane: Lane[Item]) -> bool:
        """Settle the head of a busy lane, or drop it when its ownership ended; mutex held. Tell whether it counted."""
        owned, message = lane.head
        self.lanes.settle_head(lane)
        if not owned.revoked:
            self._settle(owned, message.offset() or 0)
        self.progress.notify_all()
        return not owned.revoked

    def _settle(self, owned: Owned, offset: int) -> None:
        if self.lanes.closed:
            self.quarantine.settled(owned, offset)
        if owned.outputs and self.outlet is not None and self.outlet.held_of(owned, (offset,)):
            return
        owned.offsets.settle(offset)
        self.counters.settled += 1
        self.dirty.add(owned)

    def exchange(self, lane: Lane[Item], *, now: float) -> Lane[Item] | None:
        """Settle the head of a busy lane as ``settle_head`` does, end its turn, return the next lane; mutex held."""
        owned, message = lane.items[0][0]
        if owned.revoked:
            self.settle_head(lane)
            self.drop_revoked(lane)
            self.lanes.give_back(lane)
            return self.lanes.take(now=now)
        self._settle(owned, message.offset() or 0)
        if self.revoking or self.stopping:  # else nobody waits for it
            self.progress.notify_all()
        return self.lanes.exchange(lane, now=now)

    def settle_batch(self, lane: Lane[Item], settled: Sequence[bool], *, alone: bool = True) -> None:
        """Settle what succeeded of the records a batch handler has in hand; mutex held."""
        for (owned, message), done in [(lane.items[at][0], done) for at, done in enumerate(settled)]:
            if done and not owned.revoked:
                self._settle(owned, message.offset() or 0)
        self.lanes.settle_batch(lane, settled, alone=alone)
        self.progress.notify_all()

    def drop_revoked(self, lane: Lane[Item]) -> None:
        """Forget the records at the front of a busy lane whose ownership ended before they were begun; mutex held."""
        while lane.items and lane.head[0].revoked:
            self.lanes.settle_head(lane)
        self.progress.notify_all()

    def enter(self, base: int, owned: Owned, *, attempt: int = 1) -> None:
        """Say on the board, in the cell at ``base``, whose record is next; storing its offset makes it count."""
        words = self.board.words
        words[base + C_SEQUENCE] += 1
        words[base + C_TOPIC] = owned.topic_index
        words[base + C_PARTITION] = owned.partition
        words[base + C_LAST_OFFSET] = IDLE
        words[base + C_ATTEMPT] = attempt

    def own_again(self, owned: Owned) -> Owned:
        """End this ownership and begin the next of the same partition, at an earlier offset; mutex held.

        What is in hand of the old one counts for nothing: it will be delivered again.
        """
        owned.revoked = True
        self.dirty.discard(owned)
        self.purge({owned.place})
        if self.outlet is not None:
            self.outlet.drop(owned)
        again = self.owned[owned.place] = Owned(owned.place, owned.topic_index, owned.number)
        again.accused = owned.accused
        self.quarantine.watch(again)
        self.quarantine.forget(owned)
        return again

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
        return (owned.number, message.offset())

    if ordering is Ordering.NONE:
        return alone

    def by_key(owned: Owned, message: Message) -> Hashable:
        key = message.key()
        return (owned.number, message.offset() if key is None else key)

    return by_key
