"""What an operator does to a running supervisor, and hung workers, which it sees to by itself."""

import os
import signal
import time

from supervisor.core.snapshot import SlotState
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.whole.chaos import all_committed
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger, out_of_order


def test_p1_p3_a_restart_under_load_is_unnoticed_by_the_other_workers(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=3)
    program = supervise(broker, "workers = 3")
    program.wait(lambda: program.shared_out(3), what="one partition each")
    produce(broker.bootstrap, name, ["sleep:0.005"] * 3000, partition=lambda at: at % 3)
    program.wait(lambda: len(ledger.places()) > 100, what="it works")
    before, heard = program.workers(), len(program.logged("partitions."))

    one = program.cli("restart", f"{name}/1")
    program.wait(lambda: program.logged("partitions.assigned", "slot=1 incarnation=2"), what="the new one is back")
    program.wait(lambda: program.shared_out(3), what="one partition each")

    assert one.returncode == 0, one.stderr
    after = program.workers()
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    new = program.logged("partitions.")[heard:]
    assert [line for line in new if "slot=1" not in line] == [], "the others heard of it"

    everybody = program.cli("restart", name)
    assert everybody.returncode == 0, everybody.stderr
    assert set(program.workers().values()).isdisjoint(after.values())
    program.wait(lambda: all_committed(broker, name), 30, what="everything is committed")
    assert len(ledger.places()) == 3000
    assert ledger.repeats() == 0, "a restart drains and commits first"
    assert out_of_order(ledger.lines(), by_key=False) == []
    assert [slot.restarts for slot in program.slots()] == [0, 0, 0], "not a failure"
    assert program.terminate() == 0


def test_a_dump_is_an_event_with_the_stacks_and_disturbs_nobody(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    program = supervise(broker)
    produce(broker.bootstrap, name, ["gate:0"])
    program.wait(lambda: ledger.places("start"), what="it is in its handler")

    assert program.cli("dump").returncode == 0

    program.wait(lambda: program.events("worker.dumped"), what="the stacks are told")
    (event,) = program.events("worker.dumped")
    assert "work.py" in event.attachments["stack"]
    ledger.open_gate("0")
    program.wait(lambda: ledger.lines("done"), what="it goes on")
    assert program.slot(0).incarnation == 1


def test_p1_p7_p8_workers_that_hang_for_good_are_found_ended_and_started_again(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, 'workers = 2\nhandler_timeout = "2s"', supervisor='orphan_grace = "3s"')
    program.wait(lambda: program.shared_out(2), what="one partition each")
    produce(broker.bootstrap, name, ["good", "gate:0", "good"], partition=lambda _: 0)
    produce(broker.bootstrap, name, ["good", "gil:300", "good"], partition=lambda _: 1)
    program.wait(lambda: {(0, 1), (1, 1)} <= ledger.places("start"), what="both are in their handlers")
    began = time.monotonic()
    frozen = next(line for line in ledger.lines("start") if line.place == (0, 1))
    locked = next(line for line in ledger.lines("start") if line.place == (1, 1))
    assert frozen.pid != locked.pid

    os.kill(frozen.pid, signal.SIGSTOP)  # all of its threads stand, like a machine that swaps

    def found_slots() -> set[int | None]:
        return {event.slot for event in program.events("worker.hung")}

    program.wait(lambda: frozen.slot in found_slots(), what="the frozen one is found")
    ledger.open_gate("0")  # it goes on with the signal that tells it to end, whenever the other one is found
    program.wait(lambda: len(found_slots()) == 2, what="both are found")
    found = time.monotonic() - began
    program.wait(lambda: program.logged("worker.exited", f"pid={locked.pid}"), 20, what="the locked one is ended")
    program.wait(lambda: program.logged("worker.exited", f"pid={frozen.pid}"), 25, what="the frozen one is ended")
    ended = time.monotonic() - began

    assert found < 8.0
    hung = program.events("worker.hung")
    assert {event.slot for event in hung} == {frozen.slot, locked.slot}
    assert any(f"{name}/1@1" in event.text and "2s" in event.text for event in hung)
    exits = {event.fields["pid"]: event for event in program.events("worker.exited")}
    deaths = {pid: event.fields for pid, event in exits.items()}
    assert deaths[locked.pid]["class"] == deaths[frozen.pid]["class"] == "hung"
    assert (deaths[frozen.pid]["rung"], deaths[locked.pid]["rung"]) == ("term", "abort")
    assert f"{name}/1@1" in str(deaths[locked.pid]["in_flight"])
    stack = exits[locked.pid].attachments["stack"]
    assert any("work.py" in line and "in do" in line for line in stack.splitlines()), "the dump shows where it stood"
    program.wait(lambda: ledger.offsets(0)[-1:] == [2], what="the frozen one's partition goes on")
    program.wait(lambda: program.slot(frozen.slot).state is SlotState.RUNNING, what="its slot runs again")
    assert ledger.offsets(0) == [0, 1, 2]
    print(f"both found after {found:.1f} s, ended after {ended:.1f} s")


def test_p1_p3_a_paused_slot_keeps_its_partitions_through_a_death_and_the_others_work_on(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, "workers = 2")
    program.wait(lambda: program.shared_out(2), what="one partition each")
    owner, heard = program.owners()[1].slot, len(program.logged("partitions."))
    produce(broker.bootstrap, name, ["gate:0"], partition=lambda _: 1)
    program.wait(lambda: (1, 0) in ledger.places("start"), what="one is in its handler")

    paused = program.cli("pause", f"{name}/{owner}")
    produce(broker.bootstrap, name, ["good"] * 40, partition=lambda at: at % 2)
    program.wait(lambda: committed(broker.bootstrap, name, name).get(0) == 20, what="the other slot works")
    ledger.open_gate("0")
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 20, 1: 1}, what="what it held is committed")

    program.kill_worker(owner)
    program.wait(lambda: program.slot(owner).incarnation == 2 and program.shared_out(2), what="the next one is back")
    program.wait(lambda: (stats := program.slot(owner).stats) and stats.paused, what="it is paused, too")
    assert paused.returncode == 0, paused.stderr
    assert program.owners()[1].slot == owner
    assert program.slot(owner).healthy
    assert ledger.places("start") == {(1, 0), *((0, at) for at in range(20))}, "nothing of it was begun"
    new = program.logged("partitions.")[heard:]
    assert [line for line in new if f"slot={owner}" not in line] == [], "the other one heard of it"

    assert program.cli("resume", f"{name}/{owner}").returncode == 0
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 20, 1: 21}, what="all is worked")
    assert ledger.repeats() == 0
    assert program.terminate() == 0
