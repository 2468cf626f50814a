"""The embedded broker: a real child process, real clients."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from supervisor.kafka import mock_cluster
from supervisor.kafka.embedded import Api, EmbeddedBroker, EmbeddedError
from tests.waiting import is_alive, wait_until

PARENT = """
import sys, time
from supervisor.kafka.embedded import EmbeddedBroker
broker = EmbeddedBroker({"orders": 1})
broker.start()
print(broker.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker({"orders": 2}) as running:
        yield running


def produce(broker: EmbeddedBroker, values: list[str]) -> None:
    producer = Producer(broker.settings)
    for value in values:
        producer.produce("orders", value, partition=0)
    assert producer.flush(10) == 0


def consume(broker: EmbeddedBroker, count: int, **settings: str | float) -> tuple[Consumer, list[str]]:
    consumer = Consumer(
        {
            **broker.settings,
            "group.id": "readers",
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **settings,
        }
    )
    consumer.subscribe(["orders"])
    values: list[str] = []

    def have_all() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            values.append((message.value() or b"").decode())
        return len(values) >= count

    wait_until(have_all, 15, otherwise="records not read")
    return consumer, values


def test_records_written_to_it_are_read_by_a_group(broker: EmbeddedBroker) -> None:
    produce(broker, ["a", "b", "c"])

    consumer, values = consume(broker, 3)
    consumer.commit(offsets=[TopicPartition("orders", 0, 3)], asynchronous=False)
    committed = consumer.committed([TopicPartition("orders", 0)], timeout=10)
    consumer.close()

    assert values == ["a", "b", "c"]
    assert committed[0].offset == 3


def test_its_topics_have_the_partitions_asked_for(broker: EmbeddedBroker) -> None:
    broker.create_topic("late", 3)

    topics = Producer(broker.settings).list_topics(timeout=10).topics

    assert {name: len(topics[name].partitions) for name in ("orders", "late")} == {"orders": 2, "late": 3}


def test_an_injected_commit_error_reaches_the_consumer_once(broker: EmbeddedBroker) -> None:
    produce(broker, ["a"])
    consumer, _ = consume(broker, 1)
    offsets = [TopicPartition("orders", 0, 1)]
    broker.push_errors(Api.OFFSET_COMMIT, [KafkaError.REBALANCE_IN_PROGRESS])

    with pytest.raises(KafkaException) as refused:
        consumer.commit(offsets=offsets, asynchronous=False)
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()

    assert refused.value.args[0].code() == 27


def test_a_broker_that_is_down_answers_again_when_it_is_up(broker: EmbeddedBroker) -> None:
    client = Producer({**broker.settings, "reconnect.backoff.max.ms": 100, "log_level": 0})
    assert client.list_topics(timeout=10).brokers

    broker.broker_down()
    with pytest.raises(KafkaException):
        client.list_topics(timeout=0.5)
    broker.broker_up()

    assert client.list_topics(timeout=10).brokers


def test_a_wrong_command_is_an_error_with_its_reason(broker: EmbeddedBroker) -> None:
    with pytest.raises(EmbeddedError, match="broker 9"):
        broker.broker_down(9)

    broker.broker_up()


def test_it_ends_when_it_is_closed() -> None:
    broker = EmbeddedBroker({"orders": 1})
    broker.start()
    pid = broker.pid
    assert pid is not None

    broker.close()

    assert not is_alive(pid)
    with pytest.raises(EmbeddedError, match="not running"):
        broker.broker_down()


def test_its_end_is_told_to_whoever_uses_it(broker: EmbeddedBroker) -> None:
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)

    with pytest.raises(EmbeddedError, match=r"ended|is gone"):
        broker.broker_down()


def test_it_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)

        parent.kill()
        parent.wait(10)

    wait_until(lambda: not is_alive(pid), 5, otherwise="the embedded broker outlived its parent")


def test_it_ends_when_its_parent_is_gone_though_its_input_stays_open() -> None:
    reader, writer = os.pipe()
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-m', 'supervisor.kafka.embedded'], "
        f"stdin={reader}, stdout=subprocess.PIPE); child.stdout.readline(); print(child.pid, flush=True)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], pass_fds=[reader], stdout=subprocess.PIPE, check=True, timeout=20
    ).stdout

    wait_until(lambda: not is_alive(int(shown)), 5, otherwise="the embedded broker outlived its parent")
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("topics", ["orders:0", ":2", "orders"])
def test_a_topic_that_makes_no_sense_is_refused_at_start(topics: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "supervisor.kafka.embedded", "--topics", topics],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )

    assert run.returncode == 1
    assert "error" in json.loads(run.stdout)


def test_without_a_library_it_says_where_it_looked_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    none_such = str(tmp_path / "librdkafka.so")
    monkeypatch.setattr(mock_cluster, "_candidates", lambda: iter([none_such]))

    with pytest.raises(EmbeddedError) as refused:
        mock_cluster.MockCluster(1)

    assert none_such in str(refused.value)
    assert "help:" in str(refused.value)
