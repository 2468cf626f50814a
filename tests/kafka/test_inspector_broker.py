"""What ``supervisor check`` learns from a real broker."""

import json
import subprocess
import sys
from typing import Any

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from supervisor.core.jsonable import to_json
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


def test_a_live_group_of_another_kind_is_found(broker: RealBroker, name: str) -> None:
    create(broker, **{name: 1, f"{name}.dlq": 1})
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": name,
            "client.id": "old-app",
            "partition.assignment.strategy": "range",
        }
    )
    consumer.subscribe([name])
    wait_until(lambda: consumer.poll(0.1) or consumer.assignment(), 20)

    assignor, protocol = (
        [finding for finding in findings(group(broker.bootstrap, name, name, protocol=kind)) if finding["help"]]
        for kind in ("classic", "consumer")
    )
    consumer.close()

    assert [finding["level"] for finding in (*assignor, *protocol)] == ["error", "error"]
    assert "assigns by 'range'" in assignor[0]["text"]
    assert "old-app @ 127.0.0.1" in assignor[0]["text"]
    assert "speaks protocol 'classic'" in protocol[0]["text"]


def test_a_broker_that_is_not_there_is_one_error_per_group_and_one_wait() -> None:
    found = findings(group("127.0.0.1:1", "a", "t"), group("127.0.0.1:1", "b", "t"))

    assert [(finding["level"], finding["group"]) for finding in found] == [("error", "a"), ("error", "b")]
    assert found[0]["text"].startswith("no answer from 127.0.0.1:1 within 10.0 s: ")
    assert "Connection refused" in found[0]["text"]
