"""``commit.metadata``: after a crash only the unsettled records run again (P3)."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from supervisor.core.backoff import Backoff
from supervisor.core.commit_metadata import decode, encode
from supervisor.core.spec import BatchSpec, CommitSpec, Ordering, RetrySpec
from supervisor.kafka.embedded import EmbeddedBroker
from supervisor.plugin.types import Record
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.conftest import Scale
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

NOTED = CommitSpec("manual", 10, 0.02, metadata=True)


class Slow:
    """A handler of one thread per record: the record of value ``slow`` waits for ``free``."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.begun: list[int] = []

    def __call__(self, record: Record) -> None:
        self.begun.append(record.offset)
        if record.value == b"slow":
            self.free.wait(8)


def _cluster(*values: bytes, holes: Callable[[int], int] = lambda _: 0) -> FakeCluster:
    cluster = FakeCluster()
    cluster.committed[PLACE] = 0
    for at, value in enumerate(values):
        cluster.add(PLACE, value, b"%d" % at, hole=holes(at))
    return cluster


def _worker(cluster: FakeCluster, process: Callable[[Any], object], **changes: Any) -> InProcess:
    settings: dict[str, Any] = {"ordering": Ordering.KEY, "concurrency": 4, "commit": NOTED, **changes}
    return InProcess(cluster, process, **settings)


def _noted(cluster: FakeCluster) -> list[tuple[int, int]] | None:
    return decode(cluster.metadata.get(PLACE, ""), cluster.committed[PLACE])


def test_p3_what_was_settled_behind_a_slow_record_does_not_run_again() -> None:
    cluster = _cluster(b"slow", *[b"good"] * 40, holes=lambda at: at % 3)
    records = [message.offset() or 0 for message in cluster.records[PLACE]]
    first, again = Slow(), Slow()
    with _worker(cluster, first) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: _noted(cluster) == [(records[0] + 1, records[-1] + 1)])
        worker.source.answers = lambda _place, _offset: "_TRANSPORT"  # from here on it is as good as dead
        first.free.set()

    cluster.add(PLACE, b"new")
    again.free.set()
    with _worker(cluster, again) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed[PLACE] == cluster.ends[PLACE])

        assert sorted(again.begun) == [records[0], cluster.ends[PLACE] - 1]
        assert cluster.metadata[PLACE] == ""
        assert worker.engine.counters.settled == 2


def test_a_commit_goes_though_only_its_note_has_changed() -> None:
    cluster = _cluster(b"slow", b"good")
    slow = Slow()
    with _worker(cluster, slow) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: _noted(cluster) == [(1, 2)])
        cluster.add(PLACE, b"good", b"more")
        worker.until(lambda: _noted(cluster) == [(1, 3)])
        assert cluster.committed[PLACE] == 0
        slow.free.set()


def test_a_second_crash_before_all_was_delivered_again_repeats_no_more_than_the_first() -> None:
    cluster = _cluster(b"slow", *[b"good"] * 40)
    cluster.metadata[PLACE] = encode(0, [(1, 3), (20, 41)]).text
    first, again = Slow(), Slow()
    with _worker(cluster, first) as worker:
        worker.source.chunk = lambda _limit: 1
        worker.source.assign(PLACE)
        worker.until(lambda: len(first.begun) > 3)
        worker.until(lambda: (_noted(cluster) or [])[-1:] == [(20, 41)] and first.begun)
        worker.source.answers = lambda _place, _offset: "_TRANSPORT"
        first.free.set()

    noted = {offset for begin, end in _noted(cluster) or [] for offset in range(begin, end)}
    again.free.set()
    with _worker(cluster, again) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed[PLACE] == 41)
        assert set(again.begun) == set(range(41)) - noted
        assert not set(first.begun) & ({1, 2} | set(range(20, 41)))


@pytest.mark.parametrize("text", ["written by another tool", "ks1:damaged", encode(7, [(9, 12)]).text])
def test_what_others_wrote_beside_the_offset_is_ignored_and_told_once(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = _cluster(*[b"good"] * 20)
    cluster.metadata[PLACE] = text
    slow = Slow()
    with _worker(cluster, slow) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed[PLACE] == 20)

    assert sorted(slow.begun) == list(range(20))
    assert [record.getMessage() for record in caplog.records].count("commit.metadata_foreign") == 1
    assert text not in caplog.text
    assert cluster.metadata[PLACE] == ""


def test_a_note_that_fills_up_pauses_its_partition_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.worker.notes.LIMIT", 40)
    # Every second record waits: the worst there is for a note.
    cluster = _cluster(*[b"slow" if at % 2 == 0 else b"good" for at in range(600)])
    slow = Slow()
    with _worker(cluster, slow, concurrency=400, max_gap=100_000) as worker:
        worker.source.chunk = lambda _limit: 4
        worker.source.assign(PLACE)
        worker.until(lambda: worker.parts.committer.notes.crowded == {PLACE})
        worker.until(lambda: worker.source.paused == {PLACE})
        delivered = len(slow.begun)

        assert delivered < 600
        assert len(cluster.metadata[PLACE]) <= 40
        slow.free.set()
        worker.until(lambda: cluster.committed[PLACE] == 600)
        assert not worker.source.paused


def test_a_broker_with_a_smaller_limit_gets_shorter_notes_and_loses_no_commit() -> None:
    cluster = _cluster(*[b"slow" if at % 2 == 0 else b"good" for at in range(60)])
    slow = Slow()
    longest = 20

    def answer(_place: tuple[str, int], _offset: int) -> str | None:
        text = worker.parts.committer.notes.texts.get(PLACE, "")
        return "OFFSET_METADATA_TOO_LARGE" if len(text) > longest else None

    with _worker(cluster, slow, concurrency=60) as worker:
        accepted: list[int] = []
        worker.source.answers = answer
        worker.source.on_commit = lambda _place, offset: accepted.append(offset)
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.commit_errors.get("OFFSET_METADATA_TOO_LARGE", 0) >= 5)
        worker.until(lambda: accepted)
        slow.free.set()
        worker.until(lambda: cluster.committed[PLACE] == 60)


def test_p1_an_answer_that_does_not_come_costs_repeats_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    cluster = _cluster(*[b"good"] * 20)
    cluster.metadata[PLACE] = encode(0, [(3, 20)]).text
    cluster.silent = 1
    slow = Slow()
    with _worker(cluster, slow) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed[PLACE] == 20)

    assert sorted(slow.begun) == list(range(20))
    assert "commit.metadata_unread" in caplog.text


def test_a_partition_that_is_told_to_go_on_elsewhere_forgets_its_note() -> None:
    cluster = _cluster(*[b"good"] * 20)
    cluster.committed[PLACE] = 25
    cluster.metadata[PLACE] = encode(25, [(30, 40)]).text
    slow = Slow()
    with _worker(cluster, slow) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.stopped)
        worker.parts.poller.beginnings.order([PLACE], "earliest")
        worker.until(lambda: cluster.committed[PLACE] == 20)
        for _ in range(20):
            cluster.add(PLACE, b"more", b"k")
        worker.until(lambda: cluster.committed[PLACE] == 40)

    assert sorted(slow.begun) == list(range(40))


@pytest.mark.parametrize("ordering", [Ordering.PARTITION, Ordering.KEY])
def test_batches_and_retries_are_noted_by_what_was_settled(ordering: Ordering) -> None:
    cluster = _cluster(*[b"bad" if at == 2 else b"good" for at in range(10)])
    fails = True

    def batch(records: Any) -> list[BaseException | None]:
        return [ValueError() if fails and record.value == b"bad" else None for record in records]

    retry = RetrySpec(attempts=10_000, backoff=Backoff(0.02, 1.0, 0.02, 0.0))
    changes: dict[str, Any] = {"commit": NOTED, "retry": retry, "batch": BatchSpec(100, 0)}
    with InProcess(cluster, process_batch=batch, ordering=ordering, concurrency=2, **changes) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: (cluster.committed[PLACE], _noted(cluster)) == (2, [(3, 10)]))
        fails = False
        worker.until(lambda: cluster.committed[PLACE] == 10)


# On a real broker, which has the last word on what a commit may carry.


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("is_on", [True, False], ids=["noted", "not noted"])
def test_p3_on_a_real_broker_kill_9_behind_one_slow_key_repeats_next_to_nothing(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, scale: Scale, protocol: str, *, is_on: bool
) -> None:
    count = scale.pick(2000, 8000)  # below max_gap less one chunk, where the partition would pause
    create_topic(broker.bootstrap, name)
    values = ["sleep:600" if at == 0 else "good" for at in range(count)]
    produce(broker.bootstrap, name, values, key=lambda at: b"%d" % (at % 500))
    group = group_spec(
        broker.bootstrap,
        name,
        (name,),
        "handlers:by_value",
        ordering=Ordering.KEY,
        concurrency=4,
        protocol=protocol,
        commit=CommitSpec("manual", 1000, 0.1, metadata=is_on),
    )
    of_slow_key = len(range(0, count, 500))
    worker = start(group)
    worker.wait(lambda: len(ledger.places()) == count - of_slow_key, timeout=60)
    settled = ledger.places()
    noted = settled if is_on else set()
    worker.wait(lambda: _noted_on(broker, name) == noted)
    worker.kill()
    first = len(ledger.of("start"))

    if protocol == "consumer":  # its partition waits for the session timeout; another group name does not
        group = _copy_of(broker, group, name)
    again = start(group, incarnation=2)
    again.wait(lambda: len(ledger.of("start")) >= first + (1 if is_on else len(settled) + 1), timeout=60)
    again.wait(lambda: again.stats.get("queued", 0) <= of_slow_key, timeout=20)

    repeats = [line for line in ledger.of("start")[first:] if (line[2], line[3]) in settled]
    assert len(repeats) == (0 if is_on else len(settled))
    assert committed(broker.bootstrap, group.name, name)[0] == 0
    produce(broker.bootstrap, name, ["good"], key=lambda _: b"new")
    again.wait(lambda: (0, count) in ledger.places())


def _noted_on(broker: RealBroker, topic: str) -> set[tuple[int, int]]:
    runs = decode(_metadata(broker, topic), 0) or []
    return {(0, offset) for first, end in runs for offset in range(first, end)}


def _metadata(broker: RealBroker, topic: str, group: str = "") -> str:
    asker = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group or topic, "log_level": 0})
    try:
        return asker.committed([TopicPartition(topic, 0)], timeout=10)[0].metadata or ""
    finally:
        asker.close()


def _copy_of(broker: RealBroker, group: Any, topic: str) -> Any:
    text = _metadata(broker, topic)
    copier = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": topic + "-2", "log_level": 0})
    try:
        copier.commit(offsets=[TopicPartition(topic, 0, 0, metadata=text.rstrip("\0"))], asynchronous=False)
    finally:
        copier.close()
    return replace(group, name=topic + "-2")


def test_the_longest_note_is_one_that_a_broker_takes(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    worst = [(at, at + 1) for at in range(1, 60_000, 2)]
    note = encode(0, worst)
    writer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, "log_level": 0})
    try:
        writer.commit(offsets=[TopicPartition(name, 0, 0, metadata=note.text)], asynchronous=False)
    finally:
        writer.close()

    assert 3990 <= len(note.text) <= 4000
    assert decode(_metadata(broker, name), 0) == worst[: len(decode(note.text, 0) or [])]


def test_notes_work_on_the_embedded_broker_too(name: str, start: Start, ledger: Ledger) -> None:
    with EmbeddedBroker({name: 1}) as broker:
        produce(broker.bootstrap, name, ["sleep:600", *["good"] * 30], key=lambda at: b"%d" % at)
        group = group_spec(
            broker.bootstrap,
            name,
            (name,),
            "handlers:by_value",
            ordering=Ordering.KEY,
            concurrency=2,
            protocol="consumer",
            commit=NOTED,
            kafka=broker.settings,
        )
        worker = start(group)
        worker.wait(lambda: len(ledger.places()) == 30)
        worker.wait(lambda: worker.stats.get("partitions") and worker.stats["partitions"][0]["committed"] == 0)
        assert worker.process.poll() is None
