"""A consumer of the simulated broker, with the interface and the habits of confluent-kafka's.

The worker's real ``Source`` runs on top of it. Habits that matter: callbacks run inside ``poll`` and ``consume``
of whoever polls; a rebalance may come between the two; a pause flag outlives a revoke; a commit is taken from
whoever is a member, whatever it owns; a synchronous commit that fails for one partition hides the others.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tests.simulation.broker import SOURCE, Broker, Place, named
from tests.simulation.client import Alone, Fetching, Membership, SimError, Watcher
from tests.simulation.commits import SimCommits
from tests.simulation.machine import Machine, Process, Task

FATAL = KafkaError._FATAL
RESUME_SLEEP = 0.3
SEEK_WAKES = 0.003


class SimConsumer:
    """See the module. ``most`` bounds how many records come at once; ``seeks_refused``: how many, of moves, too."""

    def __init__(
        self,
        machine: Machine,
        broker: Broker,
        process: Process,
        watcher: Watcher,
        settings: dict[str, Any],
        *,
        most: int,
        seeks_refused: float,
    ) -> None:
        self.machine = machine
        self.broker = broker
        self.process = process
        self.watcher = watcher
        self.membership: Membership | None = None
        self.is_gone = self.is_fatal = self.is_closed = False
        self.asked_until = self.answered_until = 0.0
        self.held: dict[Place, Fetching] = {}
        self.last_poll = machine.now
        self.in_callback = 0
        self.is_committing = False
        """Whether a synchronous commit waits for its answer."""
        self._most = most
        self._seeks_refused = seeks_refused
        self._paused: set[Place] = set()
        self.ops: deque[Callable[[], None]] = deque()
        self._errors: deque[Any] = deque()
        self._revoking: list[Any] = []
        self._losing: set[Place] = set()
        self._rebalances = 0
        self._lives = 0
        """How often the group was left: a rebalance of an earlier life is not served any more."""
        self._poller: Task | None = None
        self.inside: Task | None = None
        """The thread that is in a call."""
        self._callbacks: dict[str, Callable[..., None]] = {}
        self._on_error = settings["error_cb"]
        self._commits = SimCommits(self, settings["on_commit"])
        self.interval = settings.get("auto.commit.interval.ms", 0) / 1000 if settings["enable.auto.commit"] else 0.0
        if self.interval:
            machine.at(self.interval, self._commits.stored_again)

    # --- confluent-kafka's interface --------------------------------------------------------------------

    def subscribe(self, _topics: Sequence[str], **callbacks: Callable[..., None]) -> None:
        with Alone(self):
            self._callbacks = callbacks
            self.member.join()

    def unsubscribe(self) -> None:
        with Alone(self):
            self._queue_rebalance(self._leave_group)

    def poll(self, timeout: float) -> Any:
        with Alone(self):
            self.last_poll = self.machine.now
            deadline = self.machine.now + timeout
            self.machine.switch_point()
            while True:
                self._serve()
                found = self._take(1)
                if found or self.machine.now >= deadline:
                    return found[0] if found else None
                self._poller = self.machine.current
                self.machine.park(min(deadline - self.machine.now, self._nap()))
                self._poller = None

    def consume(self, limit: int, timeout: float) -> list[Any]:
        assert not timeout
        with Alone(self):
            self.machine.switch_point()
            self._serve()
            return self._take(limit)

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> Any:
        with Alone(self):
            pairs = sorted(((tp.topic, tp.partition), tp.offset) for tp in offsets)
            if self.is_fatal:
                raise KafkaException(SimError("_FATAL"))
            if not asynchronous:
                for ownership in self._revoking:
                    self.watcher.last_commit(ownership)
            for place, offset in pairs:
                self._check(place, offset)
            return self._commits.later(pairs) if asynchronous else self._commits.now(pairs)

    def store_offsets(self, *, offsets: Sequence[TopicPartition]) -> None:
        with Alone(self):
            for tp in offsets:
                fetching = self.held.get((tp.topic, tp.partition))
                if fetching is None:
                    raise KafkaException(SimError("_STATE"))
                self._check((tp.topic, tp.partition), tp.offset)
                fetching.stored = max(fetching.stored or 0, tp.offset)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        with Alone(self):
            self._paused |= {(tp.topic, tp.partition) for tp in partitions}

    def assignment(self) -> list[TopicPartition]:
        with Alone(self):
            return [TopicPartition(*place) for place, fetching in self.held.items() if fetching.is_assigned]

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        """Let go of what the group goes on to count as ours, to begin it elsewhere."""
        with Alone(self):
            self._perhaps_refuse()
            places = [(tp.topic, tp.partition) for tp in partitions]
            if not all(self.held[place].is_assigned for place in places):
                raise KafkaException(SimError("_INVALID_ARG"))
            if self.interval:
                self._commits.stored(places)
            for place in places:
                self.held[place] = self.held[place].anew()

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Begin where it was said; within a callback that is later, and this is asked for to pause it there."""
        if self.in_callback:
            return
        with Alone(self):
            self._perhaps_refuse()
            for tp in partitions:
                fetching = self.held[tp.topic, tp.partition]
                self._check_move(tp, fetching.reached)
                fetching.position, fetching.is_assigned = tp.offset, True
                fetching.from_then_on = self.machine.now + SEEK_WAKES

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        with Alone(self):
            for tp in partitions:
                place = (tp.topic, tp.partition)
                self._paused.discard(place)
                if place in self.held:
                    self.held[place].from_then_on = self.machine.now + RESUME_SLEEP
                    self.held[place].told_end = -1

    def seek(self, at: TopicPartition) -> None:
        with Alone(self):
            fetching = self.held.get((at.topic, at.partition))
            if fetching is None or fetching.position is None:
                raise KafkaException(SimError("_STATE"))
            self._perhaps_refuse()
            self._check_move(at, fetching.position)
            fetching.position, fetching.told_end = at.offset, -1
            fetching.from_then_on = self.machine.now + SEEK_WAKES

    def get_watermark_offsets(self, at: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached
        with Alone(self):
            return (0, self.broker.logs[at.topic, at.partition].end)

    def committed(self, partitions: Sequence[TopicPartition], timeout: float = 0.0) -> list[TopicPartition]:
        with Alone(self):
            return [
                TopicPartition(tp.topic, tp.partition, self.broker.committed.get((tp.topic, tp.partition), -1001))
                for tp in partitions
            ]

    def memberid(self) -> str:
        return self.member.identity[0]

    def close(self) -> None:
        with Alone(self):
            self.machine.switch_point()
            if not self.is_fatal:
                self._give_up(list(self.held), lost=False)
                self.member.stay_behind()
            self.is_closed = True

    # --- what the background half asks and tells ---------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a rebalance waits for the polls, or is in its callbacks."""
        return self._rebalances > 0

    def owned(self) -> frozenset[Place]:
        return frozenset(self.held)

    def assigned(self, places: Sequence[Place]) -> None:
        wanted = set(places)
        revoked = sorted(set(self.held) - wanted)
        added = sorted(wanted - set(self.held))
        life = self._lives

        def change() -> None:
            if self._lives != life:
                return
            if revoked:
                self._give_up(revoked, lost=False)
            self._gain(added)
            self._rebalanced(gave_up=bool(revoked))

        self._queue_rebalance(change)

    def lost(self) -> None:
        life = self._lives

        def lose() -> None:
            if self._lives != life:
                return
            self._give_up(sorted(self.held), lost=True)
            self._rebalanced(gave_up=True)

        self._queue_rebalance(lose)

    def die(self, text: str) -> None:
        if not self.is_fatal:
            self.is_fatal = True
            self.ops.clear()
            self._errors.append(Message(topic=None, partition=-1, offset=-1, error=KafkaError(FATAL, text)))
            self.nudge()

    def hear(self, code: str) -> None:
        """Have ``error_cb`` called with trouble that the client gets over by itself."""
        self.ops.append(lambda: self._on_error(SimError(code)))
        self.nudge()

    def nudge(self) -> None:
        """Have whoever polls look again."""
        if self._poller is not None:
            self.machine.wake(self._poller)

    # --- inside -----------------------------------------------------------------------------------------

    @property
    def member(self) -> Membership:
        assert self.membership is not None
        return self.membership

    def _queue_rebalance(self, change: Callable[[], None]) -> None:
        self._rebalances += 1
        self.ops.append(change)
        self.nudge()

    def _rebalanced(self, *, gave_up: bool) -> None:
        self._rebalances -= 1
        self.member.served(gave_up=gave_up)

    def _leave_group(self) -> None:
        self._give_up(sorted(self.held), lost=False)
        self._rebalances = 0
        self._lives += 1
        self.member.leave()

    def _serve(self) -> None:
        while self.ops:
            self.in_callback += 1
            try:
                self.ops.popleft()()
            finally:
                self.in_callback -= 1
            self.last_poll = self.machine.now

    def _give_up(self, places: Sequence[Place], *, lost: bool) -> None:
        if not places and not lost:
            return
        self.machine.note("loses" if lost else "revokes", self.process.name, [named(place) for place in places])
        self._revoking = [self.held[place].ownership for place in places]
        self._losing = set(places) if lost else set()
        partitions = [TopicPartition(*place) for place in places]
        if places:
            self._callbacks["on_lost" if lost else "on_revoke"](self, partitions)
        self._revoking = []
        self._losing = set()
        if self.interval and not lost:
            self._commits.stored(places)
        for place in places:
            fetching = self.held.pop(place)
            if fetching.ownership is not None:
                self.watcher.gives_up(fetching.ownership, lost=lost)

    def _gain(self, places: Sequence[Place]) -> None:
        self.machine.note("assigned", self.process.name, [named(place) for place in places])
        self._callbacks["on_assign"](self, [TopicPartition(*place) for place in places])
        mine = {place: Fetching() for place in places}
        self.held.update(mine)

        def begin(committed: dict[Place, int]) -> None:
            for place, fetching in mine.items():
                if self.held.get(place) is fetching:
                    fetching.position = committed[place]
                    fetching.ownership = self.watcher.owns(self, place, committed[place])
            self.nudge()

        if mine:
            self.broker.ask(self, lambda: {place: self.broker.committed.get(place, 0) for place in mine}, begin)

    def _nap(self) -> float:
        """Return until when nothing can come but what nudges."""
        now = self.machine.now
        then = [one.from_then_on for one in self.held.values() if one.from_then_on > now]
        return min(then) - now if then else 60.0

    def _take(self, limit: int) -> list[Any]:
        found: list[Any] = [self._errors.popleft() for _ in range(min(limit, len(self._errors)))]
        if self.is_fatal or self.broker.is_away or not self.held:
            return found
        limit = min(limit, self._most)
        now = self.machine.now
        places = list(self.held)
        first = int(self.machine.chance.random() * len(places))
        for place in places[first:] + places[:first]:
            fetching = self.held[place]
            if len(found) >= limit:
                break
            if place not in self._paused and fetching.position is not None and fetching.from_then_on <= now:
                before = len(found)
                fetching.fetch(place, self.broker.logs[place], limit, found)
                if place[0] != SOURCE:
                    self.watcher.delivers(fetching.ownership, found[before:])
        return found

    def _perhaps_refuse(self) -> None:
        if self.machine.chance.random() < self._seeks_refused:
            raise KafkaException(SimError("_STATE"))

    def _check_move(self, at: TopicPartition, position: int) -> None:
        """Only a retry topic's partition goes back, for what was not due; none goes ahead."""
        if at.offset > position or (at.offset < position and at.topic == SOURCE):
            self.watcher.problem(f"{at.topic}/{at.partition} was moved from {position} to {at.offset}")

    def _check(self, place: Place, offset: int) -> None:
        fetching = self.held.get(place)
        if place in self._losing:
            self.watcher.problem(f"P1: {self.process.name} commits {named(place)}@{offset}, which it has lost")
        self.watcher.sends(None if fetching is None else fetching.ownership, self, place, offset)
