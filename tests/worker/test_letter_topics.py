"""The first letter for a topic, which must be looked at or made: nobody else waits for the cluster's answer (P8)."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BatchSpec, Delivery, Ordering, RetrySpec
from supervisor.kafka.producer import LazyProducer, ProduceError
from supervisor.kafka.topics import DeadLetterTopics
from supervisor.plugin import Letter, Produce, Record
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

ONCE = RetrySpec(1, Backoff(0.001, 1.0, 0.001, 0.0))
BAD = 4


class SlowTopics(DeadLetterTopics):
    """A cluster that answers when the test says so, or refuses."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__({}, client_id="test")
        self.looks: list[str] = []
        self.go_on = threading.Event()
        self.refuses = refuses

    def _look(self, topic: str, like: str) -> int:
        self.looks.append(f"{topic} like {like}")
        self.go_on.wait(20)
        if self.refuses:
            self._refused.add(topic)
            return 0
        self._ready.add(topic)
        return 3


def work(record: Record) -> None:
    if record.value == b"bad":
        raise ValueError


async def work_async(record: Record) -> None:
    work(record)


def sink(letter: Letter) -> Produce:
    asked.append(letter.source_offset)
    return Produce(letter.topic, value=letter.value, headers=letter.headers)


asked: list[int] = []


@pytest.fixture
def cluster() -> FakeCluster:
    asked.clear()
    cluster = FakeCluster()
    for _ in range(BAD):
        cluster.add(PLACE, b"bad")
    for _ in range(50):
        cluster.add(PLACE, b"good")
    return cluster


def events(worker: InProcess, name: str) -> list[dict[str, Any]]:
    return [frame for frame in list(worker.link.frames) if frame.get("name") == name]


@pytest.mark.parametrize("process", [work, work_async])
def test_p8_all_other_records_are_worked_while_a_dead_letter_topic_is_made(cluster: FakeCluster, process: Any) -> None:
    topics = SlowTopics()
    changes: dict[str, Any] = {"retry": ONCE, "ordering": Ordering.NONE, "concurrency": BAD}

    with InProcess(cluster, process, sink=sink, topics=topics, **changes) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 50, 20)
        cluster.add(PLACE, b"good")
        worker.until(lambda: worker.engine.counters.settled == 51, 20)
        assert worker.outputs.letters == []
        assert worker.engine.lanes.blocked == BAD
        topics.go_on.set()
        worker.until(lambda: worker.engine.counters.settled == 51 + BAD, 20)

    assert topics.looks == ["t.dlq like t"]
    assert len(worker.outputs.letters) == BAD
    assert sorted(asked) == list(range(BAD)), "a sink is asked once for each letter"
    assert [frame["fields"] for frame in events(worker, "dead_letter.topic_made")] == [{"topic": "t.dlq"}]
    assert events(worker, "dead_letter.unwritten") == []


def test_a_topic_that_may_not_be_written_is_told_once_its_look_is_over(cluster: FakeCluster) -> None:
    topics = SlowTopics(refuses=True)

    with InProcess(cluster, work, sink=sink, topics=topics, retry=ONCE, ordering=Ordering.NONE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 50, 20)
        assert events(worker, "dead_letter.unwritten") == []
        topics.go_on.set()
        worker.until(lambda: events(worker, "dead_letter.unwritten"), 20)

        assert worker.outputs.letters == []
    assert cluster.committed.get(PLACE, 0) == 0


def test_p1_a_partition_that_goes_while_its_letters_topic_is_made_is_given_up_with_its_records(
    cluster: FakeCluster,
) -> None:
    topics = SlowTopics()

    with InProcess(cluster, work, sink=sink, topics=topics, retry=ONCE, revoke_timeout=0.2) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: topics.looks)
        assert worker.source.revoke(PLACE).wait(10)
        topics.go_on.set()
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 50 + BAD, 20)

    assert cluster.committed[PLACE] == 50 + BAD


def test_with_transactions_too(cluster: FakeCluster) -> None:
    topics = SlowTopics()
    changes: dict[str, Any] = {"retry": ONCE, "ordering": Ordering.NONE, "concurrency": BAD}

    with InProcess(cluster, work, sink=sink, topics=topics, delivery=Delivery.EXACTLY_ONCE, **changes) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 50, 20)
        topics.go_on.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 50 + BAD, 20)


def test_p8_sending_to_a_partition_does_not_wait_for_brokers_that_are_away() -> None:
    producer = LazyProducer({"bootstrap.servers": "127.0.0.1:9", "log_level": 0})
    began = time.monotonic()

    sent = [producer("letters", b"x", partition=at) for at in range(3)]

    assert time.monotonic() - began < 2.0
    for future in sent:
        with pytest.raises(ProduceError, match=r"_TRANSPORT|_TIMED_OUT"):
            future.result(15)
    assert time.monotonic() - began < 15, "all of a topic wait for one answer"
    producer.close(0.1)


@pytest.mark.parametrize("kind", ["process", "process_batch"])
def test_p8_an_output_for_a_partition_that_nobody_knows_yet_keeps_no_event_loop(
    cluster: FakeCluster, kind: str
) -> None:
    answered = threading.Event()

    async def one(record: Record) -> Produce | None:
        return Produce("out", value=b"x", partition=1) if record.value == b"bad" else None

    async def batch(records: Sequence[Record]) -> list[Produce | None]:
        return [await one(record) for record in records]

    handler: dict[str, Any] = {"process": one} if kind == "process" else {"process_batch": batch}
    changes: dict[str, Any] = {"ordering": Ordering.NONE, "concurrency": BAD + 1, "batch": BatchSpec(1, 0.0)}
    other = ("t", 1)
    for _ in range(20):
        cluster.add(other, b"good")
    with InProcess(cluster, **handler, **changes) as worker:
        worker.outputs.slow = answered
        worker.source.assign(PLACE, other)
        worker.until(lambda: cluster.committed.get(other) == 20, 20)
        assert worker.outputs.sent == []
        answered.set()
        worker.until(lambda: len(worker.outputs.sent) == BAD, 20)
        for at in range(BAD):
            worker.outputs.confirm(at)
        worker.until(lambda: cluster.committed.get(PLACE) == 50 + BAD, 20)
