"""P1 and P2 under seeded chaos: real threads over a fake cluster, held against a ledger of every record.

Chance decides over handlers (quick, slow, stuck, failing), sinks, commit errors, rebalances and stops. The
threads' own timing is not seeded: a seed that fails is a hint, the message says what broke.
"""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BatchSpec, CommitSpec, DeadLetterSpec, Ordering, RetrySpec
from supervisor.plugin.types import Letter, Record
from tests.worker.fake_source import FakeCluster, Place
from tests.worker.in_process import InProcess

SEEDS = 48
AT_ONCE = 6
PLACES: list[Place] = [("t", 0), ("t", 1), ("t", 2)]
CODES = [None, None, None, "REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "_TIMED_OUT"]
QUICK = ["quick"] * 40
OTHERS = ["pause", "pause", "fail once", "fail always", "stuck", "returns", "exits", "fail once", "quick"]


class Ledger:
    """What is settled, what runs, and every promise that was broken."""

    def __init__(self, cluster: FakeCluster, ordering: Ordering) -> None:
        self.cluster = cluster
        self.ordering = ordering
        self.settled: dict[Place, set[int]] = defaultdict(set)
        self.broken: list[str] = []
        self.owned: set[Place] = set()
        self._running: dict[object, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def running(self, records: list[Record]) -> Iterator[None]:
        """Check that every record may start now, in the order the group asks for, and nothing else of its lane runs."""
        place = (records[0].topic, records[0].partition)
        lanes = {self._lane(place, one.offset, one.key) for one in records}
        with self._lock:
            if place not in self.owned:
                self.broken.append(f"P2: {records[0]} started after {place} was given up")
            for lane in lanes & set(self._running):
                self.broken.append(f"P2: {records[0]} started while {self._running[lane]} of its lane ran")
            self._running.update(dict.fromkeys(lanes, records[0].offset))
            ours = {one.offset for one in records}
            for one in records:
                self._check_order(place, one, ours)
        try:
            yield
        finally:
            with self._lock:
                for lane in lanes:
                    self._running.pop(lane, None)

    def settle(self, topic: str, partition: int, offset: int) -> None:
        with self._lock:
            self.settled[topic, partition].add(offset)

    def committed(self, place: Place, offset: int) -> None:
        """Check that a commit passes nothing unsettled (P1)."""
        with self._lock:
            missing = [at for at in self._offsets(place) if at < offset and at not in self.settled[place]]
            if missing:
                self.broken.append(f"P1: {place} was committed to {offset}, unsettled below it: {missing[:5]}")

    def left(self) -> int:
        with self._lock:
            return sum(len(set(self._offsets(place)) - self.settled[place]) for place in PLACES)

    def _offsets(self, place: Place) -> list[int]:
        return [one.offset() or 0 for one in list(self.cluster.records.get(place, ()))]

    def _lane(self, place: Place, offset: int, key: bytes | None) -> object:
        if self.ordering is Ordering.PARTITION:
            return place
        if self.ordering is Ordering.NONE or key is None:
            return (place, offset)
        return (place, key)

    def _check_order(self, place: Place, record: Record, ours: set[int]) -> None:
        lane = self._lane(place, record.offset, record.key)
        for one in self.cluster.records[place]:
            offset = one.offset() or 0
            if offset >= record.offset:
                return
            if self._lane(place, offset, one.key()) == lane and offset not in self.settled[place] | ours:
                self.broken.append(f"P2: {record} started before {offset} was settled")
                return


class Life:
    """One seed: a cluster, a group, and what happens to it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.cluster = FakeCluster()
        self.ordering = self.dice.choice(list(Ordering))
        self.ledger = Ledger(self.cluster, self.ordering)
        self.in_batches = self.dice.random() < 0.25
        self.patient = self.dice.random() < 0.6
        self.letters = ThreadPoolExecutor(2)
        self._failed: set[tuple[Place, int]] = set()
        for _ in range(self.dice.randrange(30, 250)):
            self.produce()

    def produce(self) -> None:
        dice = self.dice
        kind = dice.choice(QUICK if dice.random() < 0.8 else OTHERS)
        key = None if dice.random() < 0.2 else b"%d" % dice.randrange(4)
        hole = dice.choice([0, 0, 0, 0, 3])
        self.cluster.add(dice.choice(PLACES), kind.encode(), key, hole=hole)

    def work(self, record: Record) -> object:
        match (record.value or b"").decode():
            case "pause":
                time.sleep(0.004)
            case "stuck":
                time.sleep(0.08)
            case "fail once" if record.attempt == 1:
                raise ValueError
            case "fail always":
                raise ValueError
            case "exits":
                raise SystemExit
            case "returns":
                return 1
        return None

    def process(self, record: Record) -> object:
        with self.ledger.running([record]):
            answer = self.work(record)
            if answer is None:
                self.ledger.settle(record.topic, record.partition, record.offset)
            return answer

    def process_batch(self, records: list[Record]) -> list[BaseException | None]:
        outcomes: list[BaseException | None] = []
        with self.ledger.running(records):
            for record in records:
                try:
                    self.work(record)
                    self.ledger.settle(record.topic, record.partition, record.offset)
                    outcomes.append(None)
                except BaseException as error:  # noqa: BLE001 - the outcome of one record
                    outcomes.append(error)
        return outcomes

    def sink(self, letter: Letter) -> "Future[None] | None":
        place, offset = (letter.source_topic, letter.source_partition), letter.source_offset
        future: Future[None] = Future()

        def answer() -> None:
            time.sleep(0.003)
            self.ledger.settle(*place, offset)
            future.set_result(None)

        match self.dice.randrange(7):
            case 0:
                raise SystemExit
            case 1:
                future.set_exception(OSError())
            case 2:
                pass  # no answer ever
            case 3 | 4:
                self.letters.submit(answer)
            case 5:
                answer()
            case _:
                self.ledger.settle(*place, offset)
                return None
        return future

    def worker(self) -> InProcess:
        dice = self.dice
        worker = InProcess(
            self.cluster,
            None if self.in_batches else self.process,
            process_batch=self.process_batch if self.in_batches else None,
            sink=self.sink,
            ordering=self.ordering,
            concurrency=dice.choice([1, 2, 4]),
            max_gap=dice.choice([4, 20, 10_000]),
            queue_records=dice.choice([8, 10_000]),
            revoke_timeout=5.0 if self.patient else 0.02,
            retry=RetrySpec(2, Backoff(0.01, 1.0, 0.01, 0.5)),
            dead_letters=DeadLetterSpec("dlq_kafka", "", "dlq", 0.05),
            commit=CommitSpec("manual", dice.choice([1, 10, 1000]), 0.02, metadata=dice.random() < 0.5),
            batch=BatchSpec(dice.choice([1, 5, 50]), dice.choice([0.0, 0.01])),
        )
        worker.source.on_commit = self.ledger.committed
        worker.source.answers = lambda _place, _offset: dice.choice(CODES)
        most = dice.choice([1, 7, 1000])
        worker.source.chunk = lambda limit: min(limit, most)
        return worker

    def assign(self, worker: InProcess, *places: Place) -> None:
        def note() -> None:
            self.ledger.owned |= set(places)

        worker.source.script(note)
        assert worker.source.assign(*places).wait(5), "nobody polls"

    def revoke(self, worker: InProcess, *places: Place) -> None:
        lost = self.dice.random() < 0.3
        assert worker.source.revoke(*places, lost=lost).wait(10), "nobody polls"
        if self.patient and not lost:
            self.ledger.owned -= set(places)
        for place in places:  # another member does some of it
            for one in self.cluster.records.get(place, ())[: self.dice.randrange(300)]:
                if (one.offset() or 0) >= self.cluster.committed.get(place, 0) and self.dice.random() < 0.9:
                    self.ledger.settle(*place, one.offset() or 0)
                    self.cluster.committed[place] = (one.offset() or 0) + 1
                elif (one.offset() or 0) >= self.cluster.committed.get(place, 0):
                    break

    def run(self) -> None:
        dice = self.dice
        deadline = time.monotonic() + 8.0
        for _ in range(dice.randrange(3)):
            with self.worker() as worker:
                self.assign(worker, *PLACES)
                for _ in range(dice.randrange(5)):
                    time.sleep(dice.random() * 0.06)
                    for _ in range(dice.randrange(20)):
                        self.produce()
                    some = dice.sample(PLACES, dice.randrange(1, 4))
                    self.revoke(worker, *some)
                    self.assign(worker, *some)
                self.stop(worker)
        with self.worker() as worker:
            self.assign(worker, *PLACES)
            worker.until(lambda: not self.ledger.left() or self.ledger.broken, timeout=deadline - time.monotonic())
            worker.source.answers = lambda _place, _offset: None
            if not self.ledger.broken:
                worker.until(lambda: self.cluster.committed == self.cluster.ends, timeout=3.0)
                worker.until(lambda: not worker.engine.lanes.count)
            self.stop(worker)
        assert not self.ledger.broken, self.ledger.broken[:3]

    def stop(self, worker: InProcess) -> None:
        assert worker.stop(4.0), "a thread did not end"
        lanes = worker.engine.lanes
        assert (lanes.count, lanes.busy, lanes.blocked, lanes.size) == (0, 0, 0, 0)
        assert worker.engine.end is None
        assert not worker.crashes, worker.crashes
        assert not worker.source.problems, worker.source.problems


def _live(seed: int) -> str:
    life = Life(seed)
    try:
        life.run()
    except AssertionError as error:
        return f"seed {seed} ({life.ordering}, batches: {life.in_batches}): {error} {life.ledger.broken[:2]}"
    finally:
        life.letters.shutdown()
    return ""


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS // 4))
def test_p1_p2_any_life_of_a_worker_loses_nothing_and_keeps_order(
    first: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "supervisor.worker.outcomes.SINK_BACKOFF", Backoff(initial=0.01, factor=1.0, max=0.01, jitter=0.0)
    )
    caplog.set_level("CRITICAL")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        problems = [text for text in pool.map(_live, range(first, first + SEEDS // 4)) if text]
    assert not problems, "\n".join(problems)
