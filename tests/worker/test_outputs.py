"""What handlers return is produced and confirmed before the offset moves, or in one transaction with it (P1, P3)."""

import itertools
from collections import Counter
from random import Random

import pytest
from confluent_kafka import Producer

from supervisor.core.backoff import Backoff
from supervisor.core.exits import ExitCode
from supervisor.core.spec import CommitSpec, Delivery, GroupSpec, Mode, Ordering, PluginSpec, RetrySpec
from supervisor.plugin import Disposition
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, lag, produce, read_topic
from tests.conftest import Scale
from tests.worker.conftest import Start
from tests.worker.direct import DirectWorker, group_spec

ONCE = Delivery.EXACTLY_ONCE
BOTH = pytest.mark.parametrize("delivery", list(Delivery))


def _topics(broker: RealBroker, name: str, partitions: int = 1) -> None:
    create_topic(broker.bootstrap, name, partitions=partitions)
    create_topic(broker.bootstrap, f"{name}.out", partitions=partitions, config={"max.message.bytes": "200000"})
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=partitions)


def _group(broker: RealBroker, name: str, delivery: Delivery, **changes: object) -> GroupSpec:
    commit = CommitSpec("manual", 1000, 0.1)
    retry = RetrySpec(attempts=50, backoff=Backoff(0.05, 1.0, 0.05, 1.0))
    handler = str(changes.pop("handler", "handlers:forward"))
    wanted = {"commit": commit, "retry": retry, "delivery": delivery, **changes}
    return group_spec(broker.bootstrap, name, (name,), handler, **wanted)


def _wait_for_commits(worker: DirectWorker, broker: RealBroker, name: str) -> None:
    """Return once the worker has committed twice, or has nothing left to."""
    worker.wait(lambda: worker.stats.get("commits", 0) > 1 or not lag(broker.bootstrap, name, name))


def _names(broker: RealBroker, name: str) -> list[str]:
    return [(one.value or b"").decode() for one in read_topic(broker.bootstrap, f"{name}.out")]


@BOTH
@pytest.mark.parametrize("ordering", [Ordering.PARTITION, Ordering.KEY])
def test_p1_p2_outputs_come_in_order_with_key_and_headers_and_the_offset_follows(
    broker: RealBroker, name: str, start: Start, delivery: Delivery, ordering: Ordering
) -> None:
    _topics(broker, name, partitions=2)
    produce(broker.bootstrap, name, ["good"] * 400, partition=lambda at: at % 2, key=lambda _: b"k")

    worker = start(_group(broker, name, delivery, ordering=ordering, concurrency=4))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 200, 1: 200})

    out = read_topic(broker.bootstrap, f"{name}.out")
    assert [(one.value or b"").decode() for one in out] == [f"{p}@{o}" for p in range(2) for o in range(200)]
    assert {(one.key, one.header["word"]) for one in out} == {(b"k", "good")}
    assert worker.stop() == 0


@BOTH
def test_p1_outputs_of_batches_are_those_of_the_records_that_succeeded(
    broker: RealBroker, name: str, start: Start, delivery: Delivery
) -> None:
    _topics(broker, name)
    words = ["good", "raise", "nothing", "nonsense", "good"] * 20
    produce(broker.bootstrap, name, words)

    retry = RetrySpec(attempts=2, backoff=Backoff(0.0, 1.0, 0.0, 0.0))
    plugins = (PluginSpec("handlers:BatchForward"),)
    worker = start(_group(broker, name, delivery, handler="", plugins=plugins, retry=retry))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 100})

    assert set(_names(broker, name)) == {f"0@{at}" for at, word in enumerate(words) if word == "good"}
    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    assert Counter(letter.header["supervisor.dlq.disposition"] for letter in letters) == {
        Disposition.ERROR: 20,
        Disposition.PLUGIN_ERROR: 20,
    }


@BOTH
@pytest.mark.parametrize(("word", "code"), [("huge", "MSG_SIZE_TOO_LARGE"), ("astray", "TOPIC_EXCEPTION")])
def test_p1_a_record_whose_output_is_refused_is_a_dead_letter_and_its_neighbours_go_on(
    broker: RealBroker, name: str, start: Start, delivery: Delivery, word: str, code: str
) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["good", word, "good", word, "good"])

    worker = start(_group(broker, name, delivery))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 5})

    assert _names(broker, name) == ["0@0", "0@2", "0@4"]
    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    assert [letter.header["supervisor.dlq.offset"] for letter in letters] == ["1", "3"]
    assert {letter.header["supervisor.dlq.disposition"] for letter in letters} == {Disposition.PLUGIN_ERROR}
    assert all(code in letter.header["supervisor.dlq.reason"] for letter in letters)
    assert worker.process.poll() is None


def test_p1_p3_exactly_once_holds_while_workers_are_killed_and_partitions_move(
    broker: RealBroker, name: str, start: Start, rng: Random, scale: Scale
) -> None:
    """P3 with concurrency 16, retries, dead letters, two slots, kill -9 at any moment, joins and leaves."""
    _topics(broker, name, partitions=4)
    total = scale.pick(4000, 20_000)
    words = [rng.choice(["good"] * 8 + ["flaky", "raise"]) for _ in range(total)]
    produce(broker.bootstrap, name, words, partition=lambda at: at % 4, key=lambda at: b"%d" % (at % 50))
    retry = RetrySpec(attempts=4, backoff=Backoff(0.02, 2.0, 0.1, 0.5))
    group = _group(broker, name, ONCE, ordering=Ordering.KEY, concurrency=16, retry=retry, max_gap=300)
    incarnations = itertools.count(1)
    first, second = start(group, incarnation=next(incarnations)), start(group, slot=1)

    for _ in range(scale.pick(6, 30)):
        _wait_for_commits(first, broker, name)
        first.kill()
        if rng.random() < 0.3:
            second.stop("leave")
            second = start(group, slot=1, incarnation=next(incarnations))
        first = start(group, incarnation=next(incarnations))
    first.wait(lambda: sum(committed(broker.bootstrap, name, name).values()) == total, timeout=60)

    results = Counter(_names(broker, name))
    letters = Counter(
        f"{one.header['supervisor.dlq.partition']}@{one.header['supervisor.dlq.offset']}"
        for one in read_topic(broker.bootstrap, f"{name}.dlq")
    )
    expected = {f"{at % 4}@{at // 4}" for at in range(total)}
    assert results.keys() | letters.keys() == expected, "nothing is lost"
    assert not results.keys() & letters.keys(), "a result or a dead letter"
    assert set(results.values()) | set(letters.values()) == {1}, "each exactly once"


def test_p3_a_retry_longer_than_the_transaction_timeout_breaks_nothing(
    broker: RealBroker, name: str, start: Start
) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["good", "slow-retry", *["good"] * 10], key=lambda at: b"%d" % at)

    retry = RetrySpec(attempts=3, backoff=Backoff(4.0, 1.0, 4.0, 0.0))
    kafka = {"transaction.timeout.ms": 1000}
    worker = start(_group(broker, name, ONCE, ordering=Ordering.KEY, concurrency=4, retry=retry, kafka=kafka))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 12}, timeout=30)

    assert sorted(_names(broker, name)) == sorted(f"0@{at}" for at in range(12))
    assert worker.process.poll() is None


def test_p3_an_incarnation_that_only_leaves_ends_the_dead_ones_transaction(
    broker: RealBroker, name: str, start: Start
) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["good"] * 50)
    group = _group(broker, name, ONCE)
    worker = start(group)
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 50})
    worker.kill()

    leaver = start(group, mode=Mode.LEAVE, incarnation=2)

    assert leaver.process.wait(30) == 0
    other = start(group, slot=1)
    produce(broker.bootstrap, name, ["good"] * 50)
    other.wait(lambda: committed(broker.bootstrap, name, name) == {0: 100})
    assert Counter(_names(broker, name)) == Counter(f"0@{at}" for at in range(100))


def test_p1_a_dead_letter_as_large_as_brokers_take_is_written(broker: RealBroker, name: str, start: Start) -> None:
    """The client's own limit is below theirs."""
    _topics(broker, name)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 2_000_000})
    for value in ("good", "raise" + "x" * 1_020_000, "good"):
        producer.produce(name, value)
    assert producer.flush(20) == 0

    retry = RetrySpec(attempts=1, backoff=Backoff(0.0, 1.0, 0.0, 0.0))
    worker = start(_group(broker, name, ONCE, retry=retry))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3})

    assert len(read_topic(broker.bootstrap, f"{name}.dlq")) == 1
    assert worker.process.poll() is None


def test_a_second_worker_of_the_same_name_ends_the_first_as_fenced(broker: RealBroker, name: str, start: Start) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["good"] * 10)
    first = start(_group(broker, name, ONCE))
    first.wait(lambda: committed(broker.bootstrap, name, name) == {0: 10})

    second = start(_group(broker, name, ONCE), host="b")
    first.wait(lambda: first.process.poll() is not None or not produce(broker.bootstrap, name, ["good"] * 5))
    assert first.process.poll() == ExitCode.FENCED
    assert second.process.poll() is None
