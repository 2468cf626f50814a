"""Topic patterns on a real broker: what is found, what is lost, and what a pattern must never read (P1, P3)."""

import pytest
from confluent_kafka.admin import AdminClient

from supervisor.core.spec import DeadLetterSpec, GroupSpec, Ordering
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.waiting import wait_until
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec

PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])
SOON = {"topic.metadata.refresh.interval.ms": 1000, "topic.metadata.propagation.max.ms": 1000}


def delete_topic(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.delete_topics([topic], operation_timeout=10)[topic].result(15)
    wait_until(lambda: topic not in admin.list_topics(timeout=5).topics, 15, otherwise=f"{topic} is still there")


def group(broker: RealBroker, name: str, topics: tuple[str, ...], **changes: object) -> GroupSpec:
    return group_spec(broker.bootstrap, name, topics, "handlers:by_value", kafka=SOON, **changes)


def all_of(name: str, protocol: str, rest: str = "") -> str:
    """Return a pattern of this test's topics; the server's must match the whole name (RE2/J), the client's a part."""
    return rf"^{name}\.[a-z]+{rest}" if protocol == "consumer" else rf"^{name}\.[a-z]+{rest}$"


def done(bootstrap: str, group: str, topic: str, end: int) -> bool:
    return sum(committed(bootstrap, group, topic).values()) == end


@PROTOCOLS
def test_a_topic_that_comes_later_is_worked_from_its_beginning(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str
) -> None:
    create_topic(broker.bootstrap, f"{name}.a", partitions=2)
    create_topic(broker.bootstrap, f"{name}-other")
    worker = start(group(broker, name, (all_of(name, protocol),), protocol=protocol))
    worker.wait(lambda: len(worker.owned) == 2)

    create_topic(broker.bootstrap, f"{name}.b", partitions=2)
    produce(broker.bootstrap, f"{name}.b", ["good"] * 10, partition=lambda at: at % 2)
    produce(broker.bootstrap, f"{name}-other", ["good"])

    worker.wait(lambda: done(broker.bootstrap, name, f"{name}.b", 10), timeout=30)
    assert {topic for topic, _ in worker.owned} == {f"{name}.a", f"{name}.b"}
    assert {line[1] for line in ledger.of()} == {f"{name}.b"}
    assert len(ledger.of()) == 10, "once each"


@PROTOCOLS
@pytest.mark.parametrize("by", ["pattern", "names"])
def test_p3_a_topic_that_is_deleted_while_it_is_read_ends_nothing_else(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str, by: str
) -> None:
    kept, gone = f"{name}.a", f"{name}.b"
    create_topic(broker.bootstrap, kept, partitions=2)
    create_topic(broker.bootstrap, gone, partitions=2)
    topics = (all_of(name, protocol),) if by == "pattern" else (kept, gone)
    worker = start(group(broker, name, topics, protocol=protocol, ordering=Ordering.KEY, concurrency=2))
    produce(broker.bootstrap, gone, ["good"] * 10, partition=lambda at: at % 2)
    worker.wait(lambda: done(broker.bootstrap, name, gone, 10))

    delete_topic(broker.bootstrap, gone)
    worker.wait(lambda: {topic for topic, _ in worker.owned} == {kept}, timeout=30)
    produce(broker.bootstrap, kept, ["good"] * 10, partition=lambda at: at % 2)
    worker.wait(lambda: done(broker.bootstrap, name, kept, 10))
    assert worker.process.poll() is None
    # The client tells its member why the partitions went in some of these cases only, and not at once.
    assert {event["fields"]["topic"] for event in worker.events("topic.missing")} <= {gone}
    worker.wait(lambda: worker.stats["waits"] != "broker")  # a broken connection is trouble for a moment, this is none

    # One of that name comes again: it is another topic, read from its beginning.
    create_topic(broker.bootstrap, gone, partitions=2)
    produce(broker.bootstrap, gone, ["good"] * 6, partition=lambda at: at % 2)
    worker.wait(lambda: len([line for line in ledger.of() if line[1] == gone]) == 16, timeout=30)
    assert worker.process.poll() is None


def test_p7_a_topic_that_is_not_there_is_told_once_and_taken_up_when_it_comes(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, f"{name}.a")
    worker = start(group(broker, name, (f"{name}.a", f"{name}.b")))
    worker.wait(lambda: worker.events("topic.missing"))
    produce(broker.bootstrap, f"{name}.a", ["good"])
    worker.wait(lambda: done(broker.bootstrap, name, f"{name}.a", 1))

    create_topic(broker.bootstrap, f"{name}.b")
    produce(broker.bootstrap, f"{name}.b", ["good"])
    worker.wait(lambda: done(broker.bootstrap, name, f"{name}.b", 1), timeout=30)

    (event,) = worker.events("topic.missing")
    assert event["fields"] == {"topic": f"{name}.b"}


@PROTOCOLS
def test_a_list_may_hold_names_and_patterns(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str
) -> None:
    for topic in (f"{name}.a", f"{name}.b", f"{name}-one", f"{name}-two"):
        create_topic(broker.bootstrap, topic)

    worker = start(group(broker, name, (f"{name}-one", all_of(name, protocol)), protocol=protocol))

    worker.wait(lambda: {topic for topic, _ in worker.owned} == {f"{name}.a", f"{name}.b", f"{name}-one"})


@PROTOCOLS
def test_p1_dead_letters_of_a_pattern_are_not_read_again(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str
) -> None:
    create_topic(broker.bootstrap, f"{name}.a")
    create_topic(broker.bootstrap, f"dlq.{name}.a")
    produce(broker.bootstrap, f"{name}.a", ["good", "raise", "good"])
    letters = DeadLetterSpec("dlq_kafka", "", "dlq.{topic}", 10.0)

    worker = start(group(broker, name, (rf"^{name}.*",), protocol=protocol, dead_letters=letters))
    worker.wait(lambda: done(broker.bootstrap, name, f"{name}.a", 3))
    worker.wait(lambda: worker.events("record.dead_lettered"))

    assert len(read_topic(broker.bootstrap, f"dlq.{name}.a")) == 1
    create_topic(broker.bootstrap, f"{name}.z")  # once this is seen, so would be the dead letters
    worker.wait(lambda: len(worker.owned) > 1, timeout=30)
    assert worker.owned == [(f"{name}.a", 0), (f"{name}.z", 0)]
