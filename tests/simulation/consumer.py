"""A consumer of the simulated broker, with the interface and the habits of confluent-kafka's.

The worker's real ``Source`` runs on top of it. Habits that matter: callbacks run inside ``poll`` and ``consume``
of whoever polls; a rebalance may come between the two; a pause flag outlives a revoke; a commit is taken from
whoever is a member, whatever it owns; a synchronous commit that fails for one partition hides the others.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tests.simulation.broker import Broker, Place, Result
from tests.simulation.client import Alone, Delivered, Fetching, Membership, Outcome, SimError, Watcher, outcomes_of
from tests.simulation.machine import Machine, Process, Task

FATAL, EOF = KafkaError._FATAL, KafkaError._PARTITION_EOF
RESUME_SLEEP = 0.3
SEEK_WAKES = 0.003
COMMIT_PATIENCE = 3.0


class SimConsumer:
    """See the module. ``most`` bounds how many records come at once, ``beside`` how many of one partition."""

    def __init__(
        self,
        machine: Machine,
        broker: Broker,
        process: Process,
        watcher: Watcher,
        settings: dict[str, Any],
        *,
        most: int,
    ) -> None:
        self.machine = machine
        self.broker = broker
        self.process = process
        self.watcher = watcher
        self.membership: Membership | None = None
        self.is_gone = self.is_fatal = self.is_closed = False
        self.asked_until = self.answered_until = 0.0
        self.assignment: dict[Place, Fetching] = {}
        self.last_poll = machine.now
        self.in_callback = 0
        self.is_committing = False
        """Whether a synchronous commit waits for its answer."""
        self._most = most
        self._paused: set[Place] = set()
        self._ops: deque[Callable[[], None]] = deque()
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
        self._on_commit = settings["on_commit"]
        self._on_error = settings["error_cb"]
        self._interval = settings.get("auto.commit.interval.ms", 0) / 1000 if settings["enable.auto.commit"] else 0.0
        if self._interval:
            machine.at(self._interval, self._commit_stored_again)

    # --- confluent-kafka's interface --------------------------------------------------------------------

    def subscribe(self, _topics: Sequence[str], **callbacks: Callable[..., None]) -> None:
        with Alone(self):
            self._callbacks = callbacks
            self._member.join()

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
            return self._commit_later(pairs) if asynchronous else self._commit_now(pairs)

    def store_offsets(self, *, offsets: Sequence[TopicPartition]) -> None:
        with Alone(self):
            for tp in offsets:
                fetching = self.assignment.get((tp.topic, tp.partition))
                if fetching is None:
                    raise KafkaException(SimError("_STATE"))
                self._check((tp.topic, tp.partition), tp.offset)
                fetching.stored = max(fetching.stored or 0, tp.offset)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        with Alone(self):
            self._paused |= {(tp.topic, tp.partition) for tp in partitions}

    def incremental_assign(self, _partitions: Sequence[TopicPartition]) -> None:
        """Do nothing: what was assigned is taken once the callback is over; asked for within it, to pause it there."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        with Alone(self):
            for tp in partitions:
                place = (tp.topic, tp.partition)
                self._paused.discard(place)
                if place in self.assignment:
                    self.assignment[place].from_then_on = self.machine.now + RESUME_SLEEP

    def seek(self, at: TopicPartition) -> None:
        with Alone(self):
            fetching = self.assignment.get((at.topic, at.partition))
            if fetching is None or fetching.position is None:
                raise KafkaException(SimError("_STATE"))
            if at.offset < fetching.position:
                self.watcher.problem(
                    f"{at.topic}/{at.partition} was sought back from {fetching.position} to {at.offset}"
                )
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
        return self._member.identity[0]

    def close(self) -> None:
        with Alone(self):
            self.machine.switch_point()
            if not self.is_fatal:
                self._give_up(list(self.assignment), lost=False)
                self._member.stay_behind()
            self.is_closed = True

    # --- what the background half asks and tells ---------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a rebalance waits for the polls, or is in its callbacks."""
        return self._rebalances > 0

    def owned(self) -> frozenset[Place]:
        return frozenset(self.assignment)

    def assigned(self, places: Sequence[Place]) -> None:
        wanted = set(places)
        revoked = sorted(set(self.assignment) - wanted)
        added = sorted(wanted - set(self.assignment))
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
            self._give_up(sorted(self.assignment), lost=True)
            self._rebalanced(gave_up=True)

        self._queue_rebalance(lose)

    def die(self, text: str) -> None:
        if not self.is_fatal:
            self.is_fatal = True
            self._ops.clear()
            self._errors.append(Message(topic=None, partition=-1, offset=-1, error=KafkaError(FATAL, text)))
            self.nudge()

    def hear(self, code: str) -> None:
        """Have ``error_cb`` called with trouble that the client gets over by itself."""
        self._ops.append(lambda: self._on_error(SimError(code)))
        self.nudge()

    def nudge(self) -> None:
        """Have whoever polls look again."""
        if self._poller is not None:
            self.machine.wake(self._poller)

    # --- inside -----------------------------------------------------------------------------------------

    @property
    def _member(self) -> Membership:
        assert self.membership is not None
        return self.membership

    def _queue_rebalance(self, change: Callable[[], None]) -> None:
        self._rebalances += 1
        self._ops.append(change)
        self.nudge()

    def _rebalanced(self, *, gave_up: bool) -> None:
        self._rebalances -= 1
        self._member.served(gave_up=gave_up)

    def _leave_group(self) -> None:
        self._give_up(sorted(self.assignment), lost=False)
        self._rebalances = 0
        self._lives += 1
        self._member.leave()

    def _serve(self) -> None:
        while self._ops:
            self.in_callback += 1
            try:
                self._ops.popleft()()
            finally:
                self.in_callback -= 1
            self.last_poll = self.machine.now

    def _give_up(self, places: Sequence[Place], *, lost: bool) -> None:
        if not places and not lost:
            return
        self.machine.note("loses" if lost else "revokes", self.process.name, [place[1] for place in places])
        self._revoking = [self.assignment[place].ownership for place in places]
        self._losing = set(places) if lost else set()
        partitions = [TopicPartition(*place) for place in places]
        if places:
            self._callbacks["on_lost" if lost else "on_revoke"](self, partitions)
        self._revoking = []
        self._losing = set()
        if self._interval and not lost:
            self._commit_stored(places)
        for place in places:
            fetching = self.assignment.pop(place)
            if fetching.ownership is not None:
                self.watcher.gives_up(fetching.ownership, lost=lost)

    def _gain(self, places: Sequence[Place]) -> None:
        self.machine.note("assigned", self.process.name, [place[1] for place in places])
        self._callbacks["on_assign"](self, [TopicPartition(*place) for place in places])
        mine = {place: Fetching() for place in places}
        self.assignment.update(mine)

        def begin(committed: dict[Place, int]) -> None:
            for place, fetching in mine.items():
                if self.assignment.get(place) is fetching:
                    fetching.position = committed[place]
                    fetching.ownership = self.watcher.owns(self, place, committed[place])
            self.nudge()

        if mine:
            self.broker.ask(self, lambda: {place: self.broker.committed.get(place, 0) for place in mine}, begin)

    def _nap(self) -> float:
        """Return until when nothing can come but what nudges."""
        now = self.machine.now
        then = [one.from_then_on for one in self.assignment.values() if one.from_then_on > now]
        return min(then) - now if then else 60.0

    def _take(self, limit: int) -> list[Any]:
        found: list[Any] = [self._errors.popleft() for _ in range(min(limit, len(self._errors)))]
        if self.is_fatal or self.broker.is_away or not self.assignment:
            return found
        limit = min(limit, self._most)
        now = self.machine.now
        places = list(self.assignment)
        first = int(self.machine.chance.random() * len(places))
        for place in places[first:] + places[:first]:
            fetching = self.assignment[place]
            if len(found) >= limit:
                break
            if place not in self._paused and fetching.position is not None and fetching.from_then_on <= now:
                self._fetch(place, fetching, limit, found)
        return found

    def _fetch(self, place: Place, fetching: Fetching, limit: int, found: list[Any]) -> None:
        log = self.broker.logs[place]
        position = fetching.position
        if position is None or (position >= log.end and fetching.told_end == log.end):
            return
        at = log.at(position)
        while at < len(log.offsets) and len(found) < limit:
            key, value = log.records[at]
            message = Delivered(
                topic=place[0], partition=place[1], offset=log.offsets[at], key=key, value=value, timestamp=(1, 1)
            )
            message.ownership = fetching.ownership
            found.append(message)
            fetching.position = log.offsets[at] + 1
            at += 1
        if at == len(log.offsets) and len(found) < limit:
            fetching.position = fetching.told_end = log.end
            found.append(Message(topic=place[0], partition=place[1], offset=log.end, error=KafkaError(EOF)))

    def _check(self, place: Place, offset: int) -> None:
        fetching = self.assignment.get(place)
        if place in self._losing:
            self.watcher.problem(f"P1: {self.process.name} commits {place[1]}@{offset}, which it has lost")
        self.watcher.sends(None if fetching is None else fetching.ownership, self, place, offset)

    def _commit_later(self, pairs: list[tuple[Place, int]]) -> None:
        identity = self._member.identity

        def answered(results: list[Result]) -> None:
            self._ops.append(lambda: self._on_commit(None, outcomes_of(results)))
            self.nudge()

        self.broker.ask(self, lambda: self.broker.commit(identity, pairs), answered)

    def _commit_now(self, pairs: list[tuple[Place, int]]) -> list[Outcome]:
        identity = self._member.identity
        results: list[Result] = []
        task = self.machine.current
        assert task is not None

        def answered(answer: list[Result]) -> None:
            results.extend(answer)
            self.machine.wake(task)

        self.broker.ask(self, lambda: self.broker.commit(identity, pairs), answered)
        deadline = self.machine.now + COMMIT_PATIENCE
        self.is_committing = True
        while not results and self.machine.now < deadline:
            self.machine.park(deadline - self.machine.now)
        self.is_committing = False
        if not results:
            raise KafkaException(SimError("_WAIT_COORD"))
        refused = [code for _, _, code in results if code is not None]
        if refused:
            raise KafkaException(SimError(refused[0]))
        return outcomes_of(results)

    def _commit_stored_again(self) -> None:
        if self.is_gone or self.is_closed or not self.process.is_alive:
            return
        self.machine.at(self._interval, self._commit_stored_again)
        pairs = sorted((place, stored) for place, one in self.assignment.items() if (stored := one.stored) is not None)
        if pairs and not self.is_fatal and not self.process.is_frozen:
            for place, _ in pairs:
                self.assignment[place].stored = None
            self._commit_later(pairs)

    def _commit_stored(self, places: Sequence[Place]) -> None:
        """Commit what is stored of partitions that go, as librdkafka does by itself before it gives them up."""
        pairs = [(place, stored) for place in places if (stored := self.assignment[place].stored) is not None]
        identity = self._member.identity
        if pairs and not self.is_fatal:
            self.broker.ask(self, lambda: self.broker.commit(identity, pairs), lambda _: None)
