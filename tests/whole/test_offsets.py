"""``supervisor offsets`` against a real broker, with and without a running supervisor."""

import json

import pytest
from confluent_kafka import Consumer, TopicPartition

from supervisor.core.snapshot import SlotState
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.waiting import wait_until
from tests.whole.chaos import all_committed
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program


def committed(broker: RealBroker, name: str, partitions: int) -> list[int]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name})
    try:
        found = consumer.committed([TopicPartition(name, at) for at in range(partitions)], timeout=10)
    finally:
        consumer.close()
    return [one.offset for one in found]


def running(program: Program, partitions: int) -> None:
    program.wait(lambda: program.shared_out(partitions), what="one partition each")


@pytest.mark.parametrize(
    "options",
    ["", 'protocol = "consumer"', 'delivery = "exactly-once"'],
    ids=["classic", "consumer", "exactly-once"],
)
def test_a_running_group_is_stopped_reset_and_works_again_from_there(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, options: str
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    kafka = "" if "consumer" in options else '"heartbeat.interval.ms" = 300'
    program = supervise(broker, f"workers = 2\n{options}", kafka=kafka)
    running(program, 2)
    produce(broker.bootstrap, name, ["good"] * 20, partition=lambda at: at % 2)
    program.wait(lambda: committed(broker, name, 2) == [10, 10], 30, what="everything is committed")
    before = program.workers()

    dry = program.cli("offsets", "reset", name, "--to", "earliest", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert program.workers() == before
    done = program.cli("offsets", "reset", name, "--to", "4", "--partition", f"{name}/1", "--yes", "--json", timeout=60)

    assert done.returncode == 0, done.stderr
    assert [(move["partition"], move["before"]) for move in json.loads(done.stdout)["moves"]] == [(1, 4)]
    program.wait(lambda: len(ledger.offsets(1)) == 16, 30, what="what follows is worked again")
    program.wait(lambda: committed(broker, name, 2) == [10, 10], 30, what="everything is committed again")
    assert ledger.offsets(0) == list(range(10)), "the other partition is where it was"
    assert set(program.workers().values()).isdisjoint(before.values())
    (audit,) = program.events("operator.action")
    assert (audit.fields["verb"], audit.fields["target"]) == ("offsets reset", f"{name} {name}/1 to 4")
    assert len(program.events("offsets.reset")) == 1
    assert program.terminate() == 0


def test_a_group_with_members_elsewhere_is_left_alone_and_they_are_named(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, "workers = 1")
    other = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": name,
            "client.id": "elsewhere",
            "partition.assignment.strategy": "cooperative-sticky",
            "heartbeat.interval.ms": 300,
        }
    )
    try:
        other.subscribe([name])
        wait_until(lambda: other.poll(0.05) is None and other.assignment() and program.owners(), 30)
        before = program.workers()

        refused = program.cli("offsets", "reset", name, "--to", "earliest", "--yes")

        assert refused.returncode == 1
        assert "has members elsewhere, stop them first: elsewhere @ 127.0.0.1" in refused.stderr
        assert program.workers() == before
        assert program.slot(0).state is SlotState.RUNNING
    finally:
        other.close()


def test_whoever_asked_may_go_and_the_group_runs_again(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, "workers = 2")
    running(program, 2)
    produce(broker.bootstrap, name, ["good"] * 20, partition=lambda at: at % 2)
    program.wait(lambda: all_committed(broker, name), 30, what="everything is committed")
    before = program.workers()
    assert program.cli("stop", f"{name}/1").returncode == 0

    program.control.offsets(name, "earliest", apply=True)  # nobody asks what became of it

    program.wait(lambda: len(ledger.offsets(0)) == len(ledger.offsets(1)) == 20, 40, what="all is worked again")
    assert program.workers().keys() == {0}, "a slot that was stopped before stays so"
    assert program.workers()[0] != before[0]


def test_without_a_supervisor_the_brokers_are_asked_directly(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, "workers = 1")
    program.wait(lambda: len(program.owners()) == 2, what="it owns both")
    produce(broker.bootstrap, name, ["good"] * 20, partition=lambda at: at % 2)
    program.wait(lambda: all_committed(broker, name), 30, what="everything is committed")
    assert program.terminate() == 0

    shown = program.cli("offsets", "show", name)
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()[1:3]] == [
        [f"{name}/0", "0", "10", "10", "0"],
        [f"{name}/1", "0", "10", "10", "0"],
    ]
    outside = program.cli("offsets", "reset", name, "--to", "11", "--yes")
    assert (outside.returncode, outside.stderr.strip()) == (1, f"{name}/0 holds the offsets 0 to 10, not 11")
    nowhere = program.cli("offsets", "reset", name, "--to", "1", "--partition", f"{name}/7", "--yes")
    assert f"{name}/7: no partition of a topic of group {name}" in nowhere.stderr
    assert committed(broker, name, 2) == [10, 10]

    assert program.cli("offsets", "reset", name, "--to", "1h", "--yes").returncode == 0
    assert committed(broker, name, 2) == [0, 0]
    assert program.cli("offsets", "reset", name, "--to", "2999-01-01T00:00:00Z", "--yes").returncode == 0
    assert committed(broker, name, 2) == [10, 10]


def test_a_live_group_is_not_reset_behind_its_supervisors_back(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=1)
    program = supervise(broker, "workers = 1")
    program.wait(lambda: len(program.owners()) == 1, what="it owns it")
    produce(broker.bootstrap, name, ["good"] * 5)
    program.wait(lambda: all_committed(broker, name), 30, what="everything is committed")
    elsewhere = supervise(broker, "workers = 1", folder="b", called="b", arguments=("--help",))
    elsewhere.wait(lambda: elsewhere.process is not None and elsewhere.process.poll() is not None)

    refused = elsewhere.cli("offsets", "reset", name, "--to", "earliest", "--yes")

    assert refused.returncode == 1
    assert f"nothing was changed: group {name} still has members: a-{name}-0 @ 127.0.0.1" in refused.stderr
    assert committed(broker, name, 1) == [5]
