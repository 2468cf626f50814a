"""Groups that fail as a whole, seen from outside: one canary, events, status, the exit code."""

import os
import signal
from pathlib import Path

from supervisor.core.snapshot import SlotState, Snapshot
from tests.process.parents import Parent
from tests.waiting import wait_until

QUICKLY = {"canary_healthy": 1.0, "backoff": [0.2, 2.0, 1.0, 0.0]}


def condition(snapshot: Snapshot) -> str:
    return snapshot.groups[0].condition


def started_after_half_open(parent: Parent) -> list[int | None]:
    events = parent.events()
    half = [event.name for event in events].index("group.half_open")
    return [event.slot for event in events[half:] if event.name == "slot.started" and event.fields["mode"] == "work"]


def test_a_group_that_fails_as_a_whole_tries_one_slot_and_recovers_with_all(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 4}, **QUICKLY)
    parent.behave("fall")
    with parent:
        snapshot = parent.snapshot_when(lambda s: condition(s).startswith("half-open"))
        (half,) = parent.events("group.half_open")
        canary = half.fields["canary"]
        wait_until(lambda: len(started_after_half_open(parent)) >= 3)

        assert set(started_after_half_open(parent)) == {canary}
        waiting = [slot for slot in parent.client.status().groups[0].slots if slot.slot != canary]
        assert all(slot.reason.startswith("waits for its group's canary: SIGSEGV") for slot in waiting)
        assert all(slot.next_start_in is None for slot in waiting)

        parent.behave("work")
        for number in range(4):
            parent.slot_when(SlotState.RUNNING, slot=number)
        snapshot = parent.snapshot_when(lambda s: not condition(s))

        assert snapshot.groups[0].workers == 4
        assert len(parent.events("group.half_open")) == len(parent.events("group.recovered")) == 1


def test_slots_that_wait_for_the_canary_leave_the_group(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 3}, failover_after=60.0, **QUICKLY)
    parent.behave("fall")
    with parent:
        parent.snapshot_when(lambda s: condition(s).startswith("half-open"))
        (half,) = parent.events("group.half_open")

        waiting = {f"orders-{number}" for number in range(3) if number != half.fields["canary"]}
        wait_until(lambda: {line.name for line in parent.log("leave")} >= waiting)
        assert f"orders-{half.fields['canary']}" not in {line.name for line in parent.log("leave")}


def test_five_starts_of_which_none_became_ready_are_one_event_and_the_end_of_the_group(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 3, "bills": 1}, backoff=[0.1, 1.0, 0.1, 0.0])
    for number in range(3):
        parent.behave("exit 1", f"orders-{number}")
    with parent:
        for number in range(3):
            slot = parent.slot_when(SlotState.FATAL, slot=number)
            assert slot.reason.startswith("not ready in 5 starts; the last one: exit code 1 (as told)")

        (fatal,) = parent.events("group.fatal")
        assert (fatal.group, fatal.slot) == ("orders", None)
        parent.slot_when(SlotState.RUNNING, group="bills")


def test_one_config_exit_gives_the_group_up_but_not_the_worker_that_is_ready(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 3}) as parent:
        pids = [parent.slot_when(SlotState.RUNNING, slot=number).pid for number in range(3)]
        parent.behave("exit 78", "orders-1")
        parent.behave("slow 30", "orders-2")
        for pid in pids[2:0:-1]:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.FATAL, slot=1)
        slow = parent.slot_when(SlotState.FATAL, slot=2)

        assert slow.reason == "wrong configuration: as told"
        assert parent.slot_when(SlotState.RUNNING, slot=0).incarnation == 1
        assert len(parent.events("group.fatal")) == 1
        assert parent.events("slot.fatal") == []


def test_a_slot_that_fails_often_is_flapping_once(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 3}, failover_after=60.0, backoff=[0.05, 1.0, 0.05, 0.0], healthy_after=1.0)
    parent.behave("fall", "orders-1")
    with parent:
        wait_until(lambda: len(parent.events("worker.exited")) >= 8)
        parent.behave("work", "orders-1")
        wait_until(lambda: parent.events("worker.steady"))

        assert [event.slot for event in parent.events("worker.flapping")] == [1]
        assert [event.slot for event in parent.events("worker.steady")] == [1]
        assert parent.events("group.half_open") == []


def test_a_parent_that_stood_still_longer_than_all_deadlines_kills_nobody(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 3}, tick_timeout=4.0, handler_timeout=4.0, start_timeout=4.0) as parent:
        parent.slot_when(SlotState.RUNNING, slot=0)
        parent.slot_when(SlotState.RUNNING, slot=1)
        parent.behave("slow 3")
        parent.client.restart("orders/2")
        wait_until(lambda: len([line for line in parent.log("start") if line.name == "orders-2"]) == 2)
        pids = [slot.pid for slot in parent.client.status().groups[0].slots]

        stand_still(parent, [pid for pid in pids if pid], seconds=9.0)
        parent.slot_when(SlotState.RUNNING, slot=2, incarnation=2)
        wait_until(lambda: len(parent.log("start")) >= 4)

        assert parent.events("worker.hung") == []
        assert [slot.pid for slot in parent.client.status().groups[0].slots] == pids


def stand_still(parent: Parent, pids: list[int], *, seconds: float) -> None:
    """Stop the parent and its workers as a frozen machine would, for a time that is the test's own subject."""
    for pid in (parent.pid, *pids):
        os.kill(pid, signal.SIGSTOP)
    try:
        assert parent.process is not None
        wait_until(lambda: False, seconds, otherwise=None)
    finally:
        for pid in (*pids, parent.pid):
            os.kill(pid, signal.SIGCONT)
