"""What ``supervisor check`` learns from a real broker."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from supervisor.core.jsonable import to_json
from supervisor.inspector.broker import TIMEOUT
from supervisor.kafka.admin import Admin, AdminError
from tests.broker.real import RealBroker
from tests.plugins.test_findings import SPEC
from tests.waiting import wait_until


def findings(*groups: dict[str, Any]) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "supervisor.inspector", "broker"]
    result = subprocess.run(command, input=json.dumps(groups), capture_output=True, text=True, timeout=60, check=True)
    found: list[dict[str, str]] = json.loads(result.stdout.splitlines()[-1])["findings"]
    return found


def group(bootstrap: str, name: str, topic: str, **more: Any) -> dict[str, Any]:
    kafka = {"bootstrap.servers": bootstrap}
    return {**to_json(SPEC), "name": name, "topics": [topic], "kafka": kafka, "workers": 1, **more}


def create(broker: RealBroker, **topics: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_topics([NewTopic(name, count) for name, count in topics.items()]).values():
        future.result(20)


def test_a_group_that_is_ready_to_start_has_nothing_but_ok(broker: RealBroker, name: str) -> None:
    create(broker, **{name: 2, f"{name}.dlq": 2})

    found = findings(group(broker.bootstrap, name, name))

    assert [finding["level"] for finding in found] == ["ok"] * 4, found


def test_what_is_missing_is_found(broker: RealBroker, name: str) -> None:
    create(broker, **{name: 2})

    found = findings(group(broker.bootstrap, name, name, workers=3), group(broker.bootstrap, name, f"{name}s"))

    wrong = [finding["text"] for finding in found if finding["level"] != "ok"]
    letters = f"dead-letter topic '{name}.dlq' does not exist, and the broker creates no topics: "
    assert wrong == [
        f"{letters}a record that fails for good would block its lane",
        "3 workers for 2 partitions: 1 of them will be idle",
        f"topic '{name}s' does not exist",
    ]


def test_a_dead_letter_topic_that_workers_will_make_is_as_good_as_there(broker: RealBroker, name: str) -> None:
    create(broker, **{name: 2})
    ready = group(broker.bootstrap, name, name)

    found = findings({**ready, "dead_letters": {**ready["dead_letters"], "create": True}})

    assert [finding["level"] for finding in found] == ["ok"] * 4, found
    text = f"dead-letter topic '{name}.dlq' does not exist yet: the first letter makes it, with 2 partitions"
    assert text in [finding["text"] for finding in found]


@contextmanager
def member(broker: RealBroker, name: str, **settings: str) -> Iterator[None]:
    """Be a live member of the group ``name``, as somebody else's program would be."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, "client.id": "old-app"} | settings)
    try:
        consumer.subscribe([name])
        wait_until(lambda: consumer.poll(0.1) or consumer.assignment(), 20)
        yield
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("theirs", "ours", "text", "keep"),
    [
        (
            {"partition.assignment.strategy": "range"},
            "classic",
            "the live group assigns by 'range', the config by 'cooperative-sticky'",
            '"partition.assignment.strategy" = "range" in [groups.{name}.kafka]',
        ),
        (
            {"partition.assignment.strategy": "range"},
            "consumer",
            "the live group speaks protocol 'classic', the config says 'consumer'",
            'protocol = "classic"',
        ),
        (
            {"group.protocol": "consumer"},
            "classic",
            "the live group speaks protocol 'consumer', the config says 'classic'",
            'protocol = "consumer"',
        ),
    ],
    ids=["another assignor", "classic, not consumer", "consumer, not classic"],
)
def test_a_live_group_of_another_kind_is_found_with_the_way_to_migrate(
    broker: RealBroker, name: str, theirs: dict[str, str], ours: str, text: str, keep: str
) -> None:
    create(broker, **{name: 1, f"{name}.dlq": 1})

    with member(broker, name, **theirs):
        found = findings(group(broker.bootstrap, name, name, protocol=ours))

    (wrong,) = [finding for finding in found if finding["level"] != "ok"]
    assert wrong["level"] == "error"
    assert wrong["text"] == f"{text} (1 member: old-app @ 127.0.0.1)"
    assert wrong["help"].startswith("to migrate: 1. stop all members of the group, on every host")
    assert wrong["help"].endswith(keep.format(name=name))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"partition.assignment.strategy": "cooperative-sticky"}, "classic"),
        ({"group.protocol": "consumer"}, "consumer"),
    ],
    ids=["classic", "consumer"],
)
def test_a_live_group_of_our_kind_is_fine(broker: RealBroker, name: str, theirs: dict[str, str], ours: str) -> None:
    create(broker, **{name: 1, f"{name}.dlq": 1})

    with member(broker, name, **theirs):
        found = findings(group(broker.bootstrap, name, name, protocol=ours))

    assert {finding["level"] for finding in found} == {"ok"}
    assert found[-1]["text"] == f"consumer group {name!r} is live with 1 member: old-app @ 127.0.0.1"


class NewCluster:
    """A client of a cluster that cannot speak of groups before it is asked a third time."""

    def __init__(self, code: int) -> None:
        self.asked = 0
        self._code = code

    def describe_consumer_groups(self, names: list[str], **_: Any) -> "dict[str, Future[Any]]":
        self.asked += 1
        answer: Future[Any] = Future()
        if self.asked < 3:
            answer.set_exception(KafkaException(KafkaError(self._code)))
        else:
            answer.set_result(SimpleNamespace(state=ConsumerGroupState.EMPTY, authorized_operations=None))
        return {names[0]: answer}


def test_a_group_of_a_cluster_that_is_only_starting_is_asked_for_again() -> None:
    loading, refusing = (
        NewCluster(KafkaError.COORDINATOR_LOAD_IN_PROGRESS),
        NewCluster(KafkaError.GROUP_AUTHORIZATION_FAILED),
    )
    admin = Admin({}, client_id="t")

    admin._client = cast("AdminClient", loading)
    assert admin.group("g", 10).members == ()
    assert loading.asked == 3

    admin._client = cast("AdminClient", loading := NewCluster(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))
    with pytest.raises(AdminError, match="COORDINATOR_LOAD_IN_PROGRESS"):
        admin.group("g", 0.1)
    assert loading.asked == 1

    admin._client = cast("AdminClient", refusing)
    with pytest.raises(AdminError) as caught:
        admin.group("g", 10)
    assert caught.value.code == "GROUP_AUTHORIZATION_FAILED"
    assert refusing.asked == 1


def test_a_broker_that_is_not_there_is_one_error_per_group_and_one_wait() -> None:
    found = findings(group("127.0.0.1:1", "a", "t"), group("127.0.0.1:1", "b", "t"))

    assert [(finding["level"], finding["group"]) for finding in found] == [("error", "a"), ("error", "b")]
    said = re.match(r"no answer from 127\.0\.0\.1:1 within (\d+\.\d) s: .*Connection refused", found[0]["text"])
    assert said is not None
    assert TIMEOUT - 1 < float(said[1]) < 2 * TIMEOUT  # one wait, and the time it took
    assert found[1]["text"] == found[0]["text"]
