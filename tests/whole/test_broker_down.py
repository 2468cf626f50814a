"""A broker that is not there, or goes, is waited for; no process is given up for it."""

import time

import pytest

from supervisor.core.exits import ExitCode
from supervisor.core.snapshot import SlotState
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.chaos import all_committed
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program


def test_p3_a_start_without_a_broker_waits_for_it_and_then_works(
    own_broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(own_broker.bootstrap, name, partitions=4)
    produce(own_broker.bootstrap, name, ["good"] * 200, partition=lambda at: at % 4)
    own_broker.stop()

    program = supervise(own_broker, "workers = 2")
    program.wait(lambda: waiting_for_broker(program), what="both workers wait for the broker")
    shown = program.cli("status", "--json")
    pids = program.workers()

    assert shown.returncode == 0
    assert '"broker"' in shown.stdout
    assert {slot.state for slot in program.slots()} == {SlotState.RUNNING}
    assert not any(slot.joined for slot in program.slots())

    own_broker.start()
    program.wait(lambda: all_committed(own_broker, name), 30, what="everything is committed")
    assert len(ledger.places()) == 200
    assert ledger.repeats() == 0
    assert program.workers() == pids, "no restarts"
    assert program.events("worker.exited") == []
    assert program.terminate() == 0


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_p3_a_broker_that_is_killed_under_load_is_waited_for(
    own_broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, delivery: str
) -> None:
    create_topic(own_broker.bootstrap, name, partitions=4)
    produce(own_broker.bootstrap, name, ["sleep:0.02"] * 400, partition=lambda at: at % 4)
    program = supervise(own_broker, f'workers = 2\ndelivery = "{delivery}"')
    program.wait(lambda: len(ledger.places()) > 50, what="it works")
    pids = program.workers()

    own_broker.kill()
    program.wait(lambda: program.logged("broker.trouble"), what="somebody noticed")
    own_broker.start()

    program.wait(lambda: all_committed(own_broker, name), 30, what="everything is committed")
    assert len(ledger.places()) == 400
    assert program.workers() == pids, "no restarts"
    assert program.terminate() == 0


def test_p3_p4_a_commit_that_outlives_its_membership_is_no_fencing(
    own_broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    """It waits in the client, goes when the broker is back, without a member id, and is refused as a stranger's."""
    create_topic(own_broker.bootstrap, name)
    produce(own_broker.bootstrap, name, ["gate:open", *["good"] * 10])
    kafka = '"session.timeout.ms" = 10000\n"heartbeat.interval.ms" = 500'
    program = supervise(own_broker, kafka=kafka)
    program.wait(lambda: ledger.lines("start"), what="it works")

    own_broker.stop()
    time.sleep(7.0)  # what settles earlier gives up waiting about when the session does
    (ledger.folder / "open").touch()
    program.wait(lambda: program.logged("partitions.lost"), what="the session is over")
    own_broker.start()

    program.wait(lambda: all_committed(own_broker, name), what="everything is committed")
    assert ledger.places() == {(0, at) for at in range(11)}
    assert program.events("worker.fenced") == []
    assert {event.fields["status"] for event in program.events("worker.exited")} <= {ExitCode.KAFKA_FATAL}
    assert program.terminate() == 0


def waiting_for_broker(program: Program) -> bool:
    """Tell whether every worker says that it waits for the broker."""
    slots = program.slots()
    return bool(slots) and all(slot.stats is not None and slot.stats.waits == "broker" for slot in slots)
