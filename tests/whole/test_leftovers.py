"""A supervisor that was killed with more workers than the next one has: their partitions are worked at once."""

import time

import pytest
from confluent_kafka.admin import AdminClient

from supervisor.kafka.members import membership
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger

SESSION = 45.0
"""Seconds after which the broker itself would give the partitions away; nothing here changes that default."""


@pytest.mark.parametrize("how", ["kill -9", "keep"])
def test_p3_the_partitions_of_slots_that_are_no_more_are_worked_within_seconds(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, how: str
) -> None:
    create_topic(broker.bootstrap, name, partitions=4)
    program = supervise(broker, "workers = 1", supervisor='orphan_grace = "2s"')
    program.wait(lambda: program.shared_out(4), what="slot 0 has all")
    assert program.cli("scale", f"{name}=3").returncode == 0
    program.wait(lambda: len(program.slots()) == 3 and program.shared_out(4), 30, what="three share the partitions")

    if how == "keep":
        assert program.cli("stop", "--keep").returncode == 0
        program.ended()
    else:
        program.kill()
    began = time.monotonic()
    program.start()
    produce(broker.bootstrap, name, ["good"] * 40, partition=lambda at: at % 4)
    program.wait(lambda: len(ledger.places("done")) == 40, SESSION - 10, what="all partitions are worked")
    took = time.monotonic() - began

    program.wait(lambda: len(program.slots()) == 1 and program.shared_out(4), what="slot 0 has all again")
    seen = membership(AdminClient({"bootstrap.servers": broker.bootstrap}), name, 10)
    assert seen is not None
    assert [member.client_id for member in seen.members] == [f"a-{name}-0"]
    assert sorted(event.slot or 0 for event in program.events("slot.left_over")) == [1, 2]
    print(f"worked after {took:.1f} s; the session timeout is {SESSION:.0f} s")
    assert program.terminate() == 0
