"""Looking at a group, which must never cost the process that looks."""

import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from supervisor.kafka.members import STABLE, assigned, membership
from tests.broker.real import RealBroker
from tests.broker.records import create_topic
from tests.conftest import Scale
from tests.waiting import wait_until

LOOKS = """
import sys, time
from supervisor.kafka.holes import Holes
holes = Holes({"bootstrap.servers": sys.argv[1], "log_level": 0}, "g", ["t"])
print("looks", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    holes.find()
    time.sleep(0.02)
"""


def test_members_are_told_with_their_static_ids_and_partitions(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=4)
    create_topic(broker.bootstrap, f"{name}-b", partitions=3)
    settings = {"bootstrap.servers": broker.bootstrap, "group.id": name, "heartbeat.interval.ms": 300}
    client = AdminClient({"bootstrap.servers": broker.bootstrap})

    with ExitStack() as stack:
        consumers = []
        for number in range(2):
            consumer = Consumer({**settings, "group.instance.id": f"id-{number}", "client.id": f"c-{number}"})
            stack.callback(consumer.close)
            consumer.subscribe([name, f"{name}-b"])
            consumers.append(consumer)

        def shared_out() -> bool:
            for consumer in consumers:
                consumer.poll(0.05)
            return all(consumer.assignment() for consumer in consumers)

        wait_until(shared_out, 30)
        found = membership(client, name, 10)

        assert found is not None
        assert found.state == STABLE
        for number, consumer in enumerate(consumers):
            (member,) = [one for one in found.members if one.member_id.startswith(f"id-{number}-")]
            assert (member.client_id, member.host) == (f"c-{number}", "/127.0.0.1")
            assert member.places == {(at.topic, at.partition) for at in consumer.assignment()}
        assert sum(len(member.places) for member in found.members) == 7


def test_a_group_that_never_was_is_none(broker: RealBroker, name: str) -> None:
    client = AdminClient({"bootstrap.servers": broker.bootstrap})

    found = wait_until(lambda: _answer(client, name), 20)

    assert found in (None, "none")


def _answer(client: AdminClient, group: str) -> str | None:
    try:
        return "none" if membership(client, group, 5) is None else "some"
    except KafkaException:  # the coordinator of a new cluster is not there yet
        return None


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\0\0\0"])
def test_a_member_without_an_assignment_has_no_partitions(data: bytes) -> None:
    assert assigned(data) == frozenset()


def test_a_broker_that_dies_or_freezes_under_a_look_does_not_end_the_looking_process(
    own_broker: RealBroker, scale: Scale
) -> None:
    create_topic(own_broker.bootstrap, "t")
    rounds = scale.pick(1, 4)
    with subprocess.Popen(
        [sys.executable, "-c", LOOKS, own_broker.bootstrap, str(rounds * 12)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == "looks\n"
        for _ in range(rounds):
            own_broker.kill()
            own_broker.start()
            own_broker.freeze()
            wait_until(lambda: looking.poll() is not None, 6.5, otherwise=None)  # longer than a look waits
            own_broker.thaw()
        began = time.monotonic()
        code = looking.wait(60)

        assert code == 0, looking.stdout.read()
        assert time.monotonic() - began < 60
