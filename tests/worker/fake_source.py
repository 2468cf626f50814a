"""A cluster and a consumer that do what the test says, for schedules that no real broker can be made to have."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message

from supervisor.kafka.consumer import NO_NOTES, Listener
from supervisor.kafka.offsets import AskError

Place = tuple[str, int]
Answers = Callable[[Place, int], str | None]
EOF = KafkaError._PARTITION_EOF
NO_ANSWER = "_TIMED_OUT"
STATE = "_STATE"
LOST = KafkaError._AUTO_OFFSET_RESET


class FakeCluster:
    """Partitions with their records and committed offsets. Offsets may have holes, as after compaction."""

    def __init__(self) -> None:
        self.records: dict[Place, list[Message[Any, Any]]] = {}
        self.ends: dict[Place, int] = {}
        self.begins: dict[Place, int] = {}
        self.committed: dict[Place, int] = {}
        self.lock = threading.Lock()
        """Brokers look at a member's generation and take its offsets in one step."""
        self.silent = 0
        """How many questions go without an answer."""
        self.metadata: dict[Place, str] = {}

    def add(
        self,
        place: Place,
        value: bytes | None,
        key: bytes | None = None,
        *,
        hole: int = 0,
        headers: list[tuple[str, bytes | None]] | None = None,
        timestamp: tuple[int, int] = (1, 1),
    ) -> int:
        """Append a record behind ``hole`` offsets that hold none; return its offset."""
        offset = self.ends.get(place, 0) + hole
        message = Message(
            topic=place[0],
            partition=place[1],
            offset=offset,
            key=key,
            value=value,
            timestamp=timestamp,
            headers=list(headers) if headers else None,
        )
        self.records.setdefault(place, []).append(message)
        self.ends[place] = offset + 1
        return offset


class FakeSource:
    """A ``Source`` over a ``FakeCluster``: callbacks run inside ``poll``, and only one thread may be in here."""

    def __init__(self, cluster: FakeCluster, listener: Listener) -> None:
        self.cluster = cluster
        self.listener = listener
        self.positions: dict[Place, int] = {}
        self.paused: set[Place] = set()
        self.begin_paused = False
        self.closed = ""
        self.problems: list[str] = []
        self.answers: Answers = lambda _place, _offset: None
        self.on_commit: Callable[[Place, int], None] = lambda _place, _offset: None
        self.chunk: Callable[[int], int] = lambda limit: limit
        self.refuses_seeks = False
        self.refused_moves = 0
        """How many moves are still refused."""
        self.generation = -1
        self._told_end: dict[Place, int] = {}
        self._lost: set[Place] = set()
        self._scripted: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._callbacks: deque[Callable[[], None]] = deque()
        self._inside = threading.RLock()  # callbacks may ask the client

    # --- the test's side --------------------------------------------------------------------------------

    def assign(self, *places: Place) -> threading.Event:
        """Have the next poll hand over partitions, each from its committed offset on."""

        def hand_over() -> None:
            with self.cluster.lock:
                self.generation += 1
                self.positions.update({place: self.cluster.committed.get(place, -1) for place in places})
            self.listener.assigned(list(places))
            if self.begin_paused:
                self.paused |= set(places)

        return self.script(hand_over)

    def revoke(self, *places: Place, lost: bool = False) -> threading.Event:
        """Have the next poll take partitions away; the event is set when the worker gave them up."""

        def take() -> None:
            (self.listener.lost if lost else self.listener.revoked)(list(places))
            for place in places:
                self.positions.pop(place, None)
                self._told_end.pop(place, None)
                self._lost.discard(place)

        return self.script(take)

    def script(self, step: Callable[[], None]) -> threading.Event:
        """Run ``step`` inside the next poll."""
        done = threading.Event()
        self._scripted.append((step, done))
        return done

    # --- the worker's side ------------------------------------------------------------------------------

    def poll(self, timeout: float, limit: int) -> list[Any]:
        with self._alone():
            deadline = time.monotonic() + timeout
            while True:
                self._serve()
                chunk = self._fetch(self.chunk(limit))
                if chunk or time.monotonic() >= deadline:
                    return chunk
                time.sleep(0.001)

    def commit(self, offsets: Sequence[tuple[Place, int]], notes: Mapping[Place, str] = NO_NOTES) -> None:
        with self._alone():
            results = self._commit(offsets, notes)
            self._callbacks.append(lambda: self.listener.committed(results))

    def commit_now(
        self, offsets: Sequence[tuple[Place, int]], notes: Mapping[Place, str] = NO_NOTES
    ) -> list[tuple[Place, int, str | None]]:
        return self._commit(offsets, notes)

    def store(self, offsets: Sequence[tuple[Place, int]]) -> None:
        self._commit(offsets)

    def pause(self, places: Sequence[Place]) -> None:
        with self._alone():
            self.paused |= set(places)

    def resume(self, positions: Sequence[tuple[Place, int | None]]) -> None:
        for place, offset in positions:
            self.paused.discard(place)
            if offset is not None and place in self.positions:
                if self.refuses_seeks:
                    continue
                if offset < self.positions[place] and ".retry." not in place[0]:
                    self.problems.append(f"{place} was sought back from {self.positions[place]} to {offset}")
                self.positions[place] = offset

    def group_metadata(self) -> object:
        with self._alone():
            return self.generation

    def high_watermark(self, place: Place) -> int | None:
        return self.cluster.ends.get(place)

    def committed(self, places: Sequence[Place], timeout: float) -> dict[Place, tuple[int, str]]:
        with self._alone():
            if self.cluster.silent:
                self.cluster.silent -= 1
                raise AskError(NO_ANSWER)
            committed, metadata = self.cluster.committed, self.cluster.metadata
            return {place: (committed.get(place, -1001), metadata.get(place, "")) for place in places}

    def bounds(self, places: Sequence[Place], timeout: float) -> dict[Place, tuple[int, int]]:
        with self._alone():
            return {place: (self.cluster.begins.get(place, 0), self.cluster.ends.get(place, 0)) for place in places}

    def move(self, targets: Mapping[Place, int | None]) -> None:
        with self._alone():
            if self.refused_moves:
                self.refused_moves -= 1
                raise AskError(STATE)
            for place, offset in targets.items():
                self.positions[place] = self.cluster.begins.get(place, 0) if offset is None else offset
                self._told_end.pop(place, None)
                self._lost.discard(place)

    def close(self) -> None:
        with self._alone():
            self.listener.revoked(list(self.positions))
            self.closed = "close"

    def leave(self) -> bool:
        with self._alone():
            self.listener.revoked(list(self.positions))
            self.closed = "leave"
        return True

    def _alone(self) -> "_Alone":
        return _Alone(self._inside, self.problems)

    def _serve(self) -> None:
        while self._callbacks:
            self._callbacks.popleft()()
        if self._scripted:
            step, done = self._scripted.popleft()
            step()
            done.set()

    def _fetch(self, limit: int) -> list[Any]:
        chunk: list[Any] = []
        for place, position in list(self.positions.items()):
            if place in self.paused or len(chunk) >= limit:
                continue
            end = self.cluster.ends.get(place, 0)  # read first: the test may add records meanwhile
            if not self.cluster.begins.get(place, 0) <= position <= end:
                if place not in self._lost:
                    self._lost.add(place)
                    chunk.append(_lost(place, position))
                continue
            records = [one for one in self.cluster.records.get(place, ()) if position <= (one.offset() or 0) < end]
            taken = records[: limit - len(chunk)]
            if taken:
                chunk += taken
                self.positions[place] = (taken[-1].offset() or 0) + 1
            if len(taken) == len(records) and self._told_end.get(place) != end:
                self._told_end[place] = self.positions[place] = end
                chunk.append(Message(topic=place[0], partition=place[1], offset=end, error=KafkaError(EOF)))
        return chunk

    def _commit(
        self, offsets: Sequence[tuple[Place, int]], notes: Mapping[Place, str] = NO_NOTES
    ) -> list[tuple[Place, int, str | None]]:
        results = []
        for place, offset in offsets:
            code = self.answers(place, offset)
            if code is None:
                self.on_commit(place, offset)
                self.cluster.committed[place] = offset
                self.cluster.metadata[place] = notes.get(place, "")
            results.append((place, offset, code))
        return results


def _lost(place: Place, position: int) -> Any:
    if position < 0:
        return Message(topic=place[0], partition=place[1], error=KafkaError(LOST))
    return Message(topic=place[0], partition=place[1], offset=position, error=KafkaError(LOST))


class _Alone:
    """A client hangs or worse when two threads use it at once; here it is a problem noted."""

    def __init__(self, lock: Any, problems: list[str]) -> None:
        self._lock = lock
        self._problems = problems
        self._mine = False

    def __enter__(self) -> None:
        self._mine = self._lock.acquire(blocking=False)
        if not self._mine:
            self._problems.append(f"two threads used the client at once: {threading.current_thread().name}")

    def __exit__(self, *error: object) -> None:
        if self._mine:
            self._lock.release()
