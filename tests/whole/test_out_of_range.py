"""A committed offset that is gone: one partition waits for a person, the rest of the supervisor does not."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from supervisor.control.client import Refused
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program


def _stopped(program: Program) -> list[int]:
    parts = [one for slot in program.slots() if slot.stats for one in slot.stats.partitions]
    return [one.partition for one in parts if one.stopped]


def test_p1_retention_that_was_faster_stops_a_partition_until_an_operator_says_where_to_go_on(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["good"] * 20, partition=lambda at: at % 2)
    first = supervise(broker, "workers = 2")
    first.wait(lambda: committed(broker.bootstrap, name, name) == {0: 10, 1: 10})
    assert first.terminate() == 0
    produce(broker.bootstrap, name, ["good"] * 20, partition=lambda at: at % 2)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    place = TopicPartition(name, 0, 14)
    admin.delete_records([place])[place].result(10)

    program = supervise(broker, "workers = 2", folder="b")
    program.wait(lambda: program.events("partition.out_of_range"), what="the event")
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 10, 1: 20}, what="the other goes on")
    program.wait(lambda: program.shared_out(2) and _stopped(program), what="its owner is known, and it is seen")
    table = program.cli("status").stdout
    assert f"{name}/0 (offset 10 is out of range, 14 to 20 are there)" in "".join(table.split("\n"))

    refused = program.cli("resume", name, "--partition", f"{name}/1", "--to", "earliest")
    assert (refused.returncode, f"stopped here: {name}/0" in refused.stderr) == (1, True)
    outside = program.cli("resume", name, "--to", "3")
    assert (outside.returncode, "offset 3 was asked for, 14 to 20 are there" in outside.stderr) == (1, True)
    done = program.cli("resume", name, "--partition", f"{name}/0", "--to", "earliest")
    assert (done.returncode, done.stdout) == (0, f"goes on at earliest: {name}/0\n")

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 20, 1: 20}, what="all is committed")
    assert ledger.offsets(0) == [*range(10), *range(14, 20)]
    assert not program.events("worker.exited"), "nobody took it for a hang"
    with pytest.raises(Refused, match="no group is called 'nobody'"):
        program.control.resume("nobody", "earliest")
    assert program.terminate() == 0
