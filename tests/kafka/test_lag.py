"""What a real broker tells of a group's lag."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from supervisor.core.spec import GroupSpec
from supervisor.inspector import watch
from supervisor.kafka.lag import GroupReader
from supervisor.kafka.offsets import AskError
from supervisor.parent.inspector import SILENT
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.plugins.test_findings import SPEC
from tests.waiting import wait_until


def group(broker: RealBroker, name: str, *topics: str, **more: Any) -> GroupSpec:
    kafka = {"bootstrap.servers": broker.bootstrap, **more.pop("kafka", {})}
    return replace(SPEC, name=name, topics=topics or (name,), kafka=kafka, **more)


@contextmanager
def reader(spec: GroupSpec) -> Iterator[GroupReader]:
    found = GroupReader(spec)
    try:
        yield found
    finally:
        found.close()


def commit(broker: RealBroker, group: str, topic: str, *offsets: int) -> None:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    consumer.commit(
        offsets=[TopicPartition(topic, at, offset) for at, offset in enumerate(offsets)], asynchronous=False
    )
    consumer.close()


def test_every_partition_is_told_whoever_owns_it(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=3)
    produce(broker.bootstrap, name, ["x"] * 30, partition=lambda at: at % 3)
    commit(broker, name, name, 10, 4)

    with reader(group(broker, name)) as asks:
        found = asks.read(AdminClient({"bootstrap.servers": broker.bootstrap}))

    assert [(one.partition, one.committed, one.end, one.lag, one.owner) for one in found.partitions] == [
        (0, 10, 10, 0, ""),
        (1, 4, 10, 6, ""),
        (2, -1, 10, 10, ""),
    ]
    assert found.members == ()


def test_what_nobody_committed_is_unknown_where_the_group_begins_at_the_end(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=1)
    produce(broker.bootstrap, name, ["x"] * 5)

    with reader(group(broker, name, kafka={"auto.offset.reset": "latest"})) as asks:
        found = asks.read(AdminClient({"bootstrap.servers": broker.bootstrap}))

    assert [one.lag for one in found.partitions] == [None]


def test_patterns_are_told_with_all_their_topics_and_what_is_missing_is_named(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, f"{name}.a", partitions=1)
    create_topic(broker.bootstrap, f"{name}.b", partitions=2)

    with reader(group(broker, name, f"^{name}\\..*", f"{name}-nowhere")) as asks:
        found = asks.read(AdminClient({"bootstrap.servers": broker.bootstrap}))

    assert [one.place for one in found.partitions] == [(f"{name}.a", 0), (f"{name}.b", 0), (f"{name}.b", 1)]
    assert (found.topics.missing, found.topics.denied) == ((f"{name}-nowhere",), ())


def test_members_of_any_host_are_told_with_what_they_own(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    other = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, "client.id": "other"})
    try:
        other.subscribe([name])
        wait_until(lambda: other.poll(0.05) is None and other.assignment(), 20)

        with reader(group(broker, name)) as asks:
            found = asks.read(AdminClient({"bootstrap.servers": broker.bootstrap}))
    finally:
        other.close()

    assert [one.owner for one in found.partitions] == ["other", "other"]
    assert found.members is not None
    assert [(one.client_id, len(one.places)) for one in found.members] == [("other", 2)]


def test_a_broker_that_is_not_there_is_an_error_of_the_question(name: str) -> None:
    spec = group(RealBroker(), name)

    with reader(spec) as asks, pytest.raises(AskError):
        asks.read(AdminClient({"bootstrap.servers": spec.kafka["bootstrap.servers"], "log_level": 0}))


@pytest.mark.parametrize("took", [0.0, 1.0, 50.0, 3600.0])
def test_who_looks_rests_longer_after_a_long_look_and_never_as_long_as_a_child_that_is_stuck(took: float) -> None:
    rests = watch.rest(5.0, took)

    assert rests >= 5.0
    assert rests <= SILENT / 4
    assert watch.rest(300.0, took) >= 300.0
