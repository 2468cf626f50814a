"""Retry topics on a real broker: made on demand, waited out, left for the next tier, and never lost (P1, P2, P3)."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BatchSpec, Delivery, GroupSpec, Ordering, PluginSpec, RetrySpec, RetryTier, Then
from tests.broker.real import RealBroker
from tests.broker.records import Stored, committed, create_topic, produce, read_topic
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import DirectWorker, group_spec

SHORT, LONG = RetryTier("400ms", 0.4), RetryTier("900ms", 0.9)
RETRY = RetrySpec(attempts=1, backoff=Backoff(0.01, 1.0, 0.01, 0.0), then=Then.TOPIC, tiers=(SHORT, LONG))

ONE_TIER = replace(RETRY, tiers=(SHORT,))


def group(broker: RealBroker, name: str, **changes: Any) -> GroupSpec:
    changes = {"retry": RETRY, "ordering": Ordering.NONE, "concurrency": 4, **changes}
    handler = changes.pop("handler", "handlers:by_value")
    kafka = {"heartbeat.interval.ms": 300, **changes.pop("kafka", {})}
    return group_spec(broker.bootstrap, name, (name,), handler, kafka=kafka, **changes)


def starts(ledger: Ledger, value: int) -> list[list[Any]]:
    """Return the attempts at the record whose key is ``value``, oldest first."""
    return [line for line in ledger.of("start") if line[4] == str(value)]


def keyed(at: int) -> bytes:
    return b"%d" % at


def partitions_of(broker: RealBroker, topic: str) -> int:
    client = AdminClient({"bootstrap.servers": broker.bootstrap})
    return len(client.list_topics(topic, timeout=10).topics[topic].partitions)


def letters(broker: RealBroker, name: str) -> list[Stored]:
    return read_topic(broker.bootstrap, f"{name}.dlq")


def has_retry_topics(worker: DirectWorker) -> bool:
    return len({topic for topic, _ in worker.owned}) == 3


def test_p1_a_failing_record_goes_from_tier_to_tier_and_becomes_the_dead_letter_of_its_first_self(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    words = ["good", "raise", "good"]
    produce(broker.bootstrap, name, words, key=keyed, partition=lambda _: 1, headers=[("trace", b"1")])

    worker = start(group(broker, name))
    worker.wait(lambda: worker.events("record.dead_lettered"), 30)

    first, second, third = starts(ledger, 1)
    assert [line[1].removeprefix(name) for line in (first, second, third)] == ["", ".retry.400ms", ".retry.900ms"]
    assert [line[5] for line in (first, second, third)] == [1, 2, 3]
    assert second[6] - first[6] >= SHORT.delay - 0.05
    assert third[6] - second[6] >= LONG.delay - 0.05
    assert [partitions_of(broker, f"{name}.retry.{tier.label}") for tier in (SHORT, LONG)] == [2, 2]
    assert {event["fields"]["topic"] for event in worker.events("retry_topic.made")} == {
        f"{name}.retry.{tier.label}" for tier in (SHORT, LONG)
    }
    (letter,) = letters(broker, name)
    assert (letter.partition, letter.key, letter.value) == (1, b"1", b"raise")
    assert letter.header["supervisor.dlq.audit-id"] == f"{name}/{name}/1/1"
    assert letter.header["supervisor.dlq.topic"] == name
    assert letter.header["supervisor.dlq.attempts"] == "3"
    assert letter.header["trace"] == "1"
    assert not [header for header in letter.header if header.startswith("supervisor.retry.")]
    assert float(letter.header["supervisor.dlq.failed-at"]) - float(letter.header["supervisor.dlq.first-failed-at"]) > 1
    worker.wait(lambda: committed(broker.bootstrap, name, name).get(1) == 3)
    copies = [f"{name}.retry.{tier.label}" for tier in (SHORT, LONG)]
    worker.wait(lambda: all(committed(broker.bootstrap, name, copy).get(1) == 1 for copy in copies))
    assert worker.stats["copied"] == 2
    assert worker.stop("leave") == 0


def test_the_copy_says_what_it_is_of_and_why(broker: RealBroker, name: str, start: Start, ledger: Ledger) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise-once"], key=keyed, headers=[("trace", b"1")])

    worker = start(group(broker, name))
    worker.wait(ledger.of, 30)

    (copy,) = read_topic(broker.bootstrap, f"{name}.retry.400ms")
    header = copy.header
    assert (copy.key, copy.value, header["trace"]) == (b"0", b"raise-once", "1")
    assert header["supervisor.retry.audit-id"] == f"{name}/{name}/0/0"
    assert header["supervisor.retry.attempts"] == "1"
    assert header["supervisor.retry.exception-type"] == "builtins.ValueError"
    waits = float(header["supervisor.retry.not-before"]) - float(header["supervisor.retry.first-failed-at"])
    assert 0.39 < waits < 5
    assert [line[5] for line in starts(ledger, 0)] == [1, 2]


def test_a_waiting_partition_keeps_nobody_and_the_worker_stays_a_member(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    hour = RetryTier("1h", 3600.0)
    worker = start(group(broker, name, retry=replace(RETRY, tiers=(hour,))))
    worker.wait(lambda: len(worker.owned) == 2, 30)

    produce(broker.bootstrap, name, ["raise", "good", "good"], key=keyed)
    worker.wait(lambda: len(ledger.of()) == 2)
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3})
    worker.wait(lambda: worker.stats["waits"] == "retry")
    rebalances = len(worker.of_type("assigned"))
    produce(broker.bootstrap, name, ["good"], key=keyed)
    worker.wait(lambda: len(ledger.of()) == 3)

    assert len(worker.of_type("assigned")) == rebalances
    (row,) = [one for one in worker.stats["partitions"] if one["topic"] == f"{name}.retry.1h"]
    assert row["lag"] == 1
    assert committed(broker.bootstrap, name, f"{name}.retry.1h") in ({}, {0: 0})
    assert worker.stop("leave") == 0


def has_begun(ledger: Ledger, count: int) -> bool:
    return len(ledger.of("start")) >= count


@pytest.mark.parametrize("delivery", Delivery)
def test_p1_p3_kill_9_at_any_moment_loses_no_record_and_marks_every_copy(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, delivery: Delivery
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    count = 400
    words = ["raise" if at % 4 == 0 else "good" for at in range(count)]
    produce(broker.bootstrap, name, words, key=keyed, partition=lambda at: at % 2)
    spec = group(broker, name, delivery=delivery)
    wanted = {f"{name}/{name}/{at % 2}/{at // 2}" for at in range(0, count, 4)}

    def found() -> list[str]:
        return [letter.header["supervisor.dlq.audit-id"] for letter in letters(broker, name)]

    worker = start(spec)
    for incarnation in range(2, 6):
        worker.wait(partial(has_begun, ledger, len(ledger.of("start")) + 60), 40)
        worker.kill()
        worker = start(spec, incarnation=incarnation)
    good = {at for at in range(count) if at % 4}
    worker.wait(lambda: {int(line[4]) for line in ledger.of()} == good, 60)
    worker.wait(lambda: set(found()) == wanted, 60)

    if delivery is Delivery.EXACTLY_ONCE:
        assert sorted(found()) == sorted(wanted), "copies and letters are part of the transactions"
    copies = [copy for tier in (SHORT, LONG) for copy in read_topic(broker.bootstrap, f"{name}.retry.{tier.label}")]
    assert {copy.header["supervisor.retry.audit-id"] for copy in copies} == wanted
    assert worker.stop("leave") == 0


def test_p1_a_retry_topic_that_cannot_be_written_holds_its_records_and_nothing_is_committed(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.retry.400ms", config={"max.message.bytes": "1000000"})
    create_topic(broker.bootstrap, f"{name}.retry.900ms", config={"max.message.bytes": "200"})
    create_topic(broker.bootstrap, f"{name}.dlq")
    produce(broker.bootstrap, name, ["raise"], key=keyed)

    worker = start(group(broker, name))
    worker.wait(lambda: worker.events("record.dead_lettered"), 30)

    (letter,) = letters(broker, name)
    assert "its retry topic refused it: MSG_SIZE_TOO_LARGE" in letter.header["supervisor.dlq.reason"]
    assert [line[5] for line in starts(ledger, 0)] == [1, 2]


def test_another_groups_copies_in_a_shared_retry_topic_are_let_go(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise-once"], key=keyed)
    worker = start(group(broker, name))
    worker.wait(ledger.of, 30)

    spec = replace(group(broker, f"{name}-b"), topics=(name,))
    other = start(spec, host="b")
    other.wait(lambda: committed(broker.bootstrap, f"{name}-b", f"{name}.retry.400ms").get(0, 0) >= 2, 30)

    assert [(line[1].removeprefix(name), line[5]) for line in starts(ledger, 0)] == [
        ("", 1),
        (".retry.400ms", 2),
        ("", 1),
        (".retry.400ms", 2),
    ]
    del worker


def test_a_batch_handlers_failures_come_back_alone(broker: RealBroker, name: str, start: Start, ledger: Ledger) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good", "raise-once", "good"], key=keyed)

    worker = start(group(broker, name, handler="", plugins=[PluginSpec("handlers:Batches")], batch=BatchSpec(10, 0.1)))
    worker.wait(lambda: len(ledger.of()) == 3, 30)

    assert [line[5] for line in ledger.of() if line[4] == "1"] == [2]
    deadline = time.monotonic() + 5
    while not worker.stats.get("copied") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert worker.stats["copied"] == 1


@pytest.mark.parametrize("delivery", Delivery)
def test_p1_a_record_that_fits_its_topic_only_compressed_fits_the_retry_topic_and_the_dead_letters(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, delivery: Delivery
) -> None:
    small = {"max.message.bytes": "20000"}
    for topic in (name, f"{name}.retry.400ms", f"{name}.dlq"):
        create_topic(broker.bootstrap, topic, config=small)
    value = b"raise".ljust(500_000)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": "gzip", "log_level": 0})
    producer.produce(name, value, b"0")
    assert producer.flush(10) == 0

    worker = start(group(broker, name, handler="handlers:raise_on_large", delivery=delivery, retry=ONE_TIER))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 1}, 30)
    worker.wait(lambda: letters(broker, name), 30)

    (letter,) = letters(broker, name)
    assert letter.value == value
    assert letter.header["supervisor.dlq.reason"] == "failed 2 times, the last after 400ms"
    assert "supervisor.dlq.exception-stack" in letter.header
    assert not worker.events("dead_letter.unwritten")
