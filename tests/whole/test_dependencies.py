"""A dependency goes down under load: no dead letter, few calls, everything worked afterwards, in order."""

import os
import signal

import pytest

from supervisor.core.snapshot import BreakerSnapshot
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger, out_of_order
from tests.whole.program import Program

PARTITIONS = 4
OPTIONS = """
workers = 2
concurrency = 4
ordering = "key"
breaker.probe_initial = "100ms"
breaker.probe_max = "500ms"
retry.attempts = 2
retry.initial = "10ms"
"""


def breaker(program: Program) -> BreakerSnapshot | None:
    (group,) = program.control.status().groups
    return group.breaker


def has_probed(program: Program, times: int) -> bool:
    found = breaker(program)
    return found is not None and found.failed_probes >= times


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_p1_p2_a_dependency_that_is_down_pauses_the_group_and_makes_no_dead_letter(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, delivery: str
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    ledger.open_gate("db")
    values = ["needs:db"] * 4000
    program = supervise(broker, OPTIONS + f'delivery = "{delivery}"')
    program.wait(lambda: program.shared_out(PARTITIONS), what="both have partitions")
    produce(broker.bootstrap, name, values, partition=lambda at: at % PARTITIONS, key=lambda at: b"k%d" % (at % 40))
    program.wait(lambda: len(ledger.lines("done")) > 100, what="some are done")

    ledger.close_gate("db")
    program.wait(lambda: has_probed(program, 2), what="two probes failed")
    before = len(ledger.lines("start"))
    failed = getattr(breaker(program), "failed_probes", 0)
    program.wait(lambda: has_probed(program, failed + 3), what="three more did")
    calls = len(ledger.lines("start")) - before
    shown = program.cli("status").stdout
    ledger.open_gate("db")
    ends = end_offsets(broker.bootstrap, name)
    program.wait(lambda: committed(broker.bootstrap, name, name) == ends, 60, what="all is committed")

    assert calls <= 5, "one probe at a time, and nothing else"
    assert "breaker open: db since" in shown
    assert len(program.events("breaker.opened")) == len(program.events("breaker.closed")) == 1
    assert program.events("record.dead_lettered") == []
    assert {line.attempt for line in ledger.lines("start")} == {1}
    assert len(ledger.places()) == len(values)
    assert out_of_order(ledger.lines("done"), by_key=True) == []
    assert {slot.restarts for slot in program.slots()} == {0}, "nobody took them for hung"


def test_p3_the_worker_that_probes_is_killed_and_another_finds_that_the_dependency_is_back(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    values = ["needs:db"] * 400
    produce(broker.bootstrap, name, values, partition=lambda at: at % PARTITIONS, key=lambda at: b"k%d" % (at % 40))
    program = supervise(broker, OPTIONS)
    program.wait(lambda: program.shared_out(PARTITIONS), what="both have partitions")
    program.wait(lambda: has_probed(program, 1), what="a probe failed")

    first = getattr(breaker(program), "prober", None)
    assert first is not None
    os.kill(program.workers()[first], signal.SIGKILL)
    program.wait(lambda: getattr(breaker(program), "prober", None) == 1 - first, what="the other one tries")
    ledger.open_gate("db")
    ends = end_offsets(broker.bootstrap, name)
    program.wait(lambda: committed(broker.bootstrap, name, name) == ends, 60, what="all is committed")

    assert len(program.events("breaker.opened")) == len(program.events("breaker.closed")) == 1
    assert len(ledger.places()) == len(values)
    assert out_of_order(ledger.lines("done"), by_key=True) == []
