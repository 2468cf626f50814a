"""Slots that an earlier supervisor had and this one has not: they leave their group (P4)."""

import os
import signal
from pathlib import Path

from supervisor.core.snapshot import SlotState
from tests.process.parents import Parent, all_run, leave_a_survivor
from tests.waiting import wait_until


def slot_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "run").glob("*.slot"))


def killed(folder: Path, groups: dict[str, int], **policy: object) -> None:
    """Leave behind what a supervisor that was killed leaves behind."""
    first = Parent(folder, groups, **policy)
    with first:
        first.snapshot_when(all_run)
        os.kill(first.pid, signal.SIGKILL)
        first.exit_code()


def test_slots_beyond_the_wanted_number_leave_before_they_are_forgotten(tmp_path: Path) -> None:
    killed(tmp_path, {"orders": 3})

    with Parent(tmp_path, {"orders": 1}) as parent:
        wait_until(lambda: slot_files(tmp_path) == ["orders.0.slot"], 15)

        left = [(line.name, line.mode) for line in parent.log("leave")]
        assert sorted(left) == [("orders-1", "leave"), ("orders-2", "leave")]
        snapshot = parent.snapshot_when(all_run)
        assert [slot.slot for slot in snapshot.groups[0].slots] == [0]
        assert snapshot.groups[0].workers == 1
        assert sorted(event.slot or 0 for event in parent.events("slot.left_over")) == [1, 2]
        assert sorted(event.slot or 0 for event in parent.events("slot.left")) == [1, 2]


def test_p4_a_survivor_in_such_a_slot_is_waited_for_and_ended_before_it_leaves(tmp_path: Path) -> None:
    leave_a_survivor(tmp_path)

    with Parent(tmp_path, {"orders": 1}) as parent:
        wait_until(lambda: parent.log("leave"), 15)

        assert parent.log("refused") == []
        deaths = [event.fields["class"] for event in parent.events("worker.exited") if event.slot == 1]
        assert deaths[0] == "survivor"
        wait_until(lambda: slot_files(tmp_path) == ["orders.0.slot"], 15)


def test_a_slot_that_left_leaves_nothing_for_the_next_supervisor(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as first:
        first.snapshot_when(all_run)

    assert slot_files(tmp_path) == []
    with Parent(tmp_path, {"orders": 1}) as parent:
        parent.snapshot_when(all_run)
        assert parent.events("slot.left_over") == []
    assert parent.log("leave") == []


def test_a_slot_that_stayed_a_member_is_remembered(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as first:
        first.snapshot_when(all_run)
        first.client.stop(end="keep")
        first.exit_code()

    assert slot_files(tmp_path) == ["orders.0.slot", "orders.1.slot"]
    with Parent(tmp_path, {"orders": 1}) as parent:
        wait_until(lambda: [line.name for line in parent.log("leave")] == ["orders-1"], 15)


def test_a_leftover_that_is_wanted_again_meanwhile_works_and_keeps_its_file(tmp_path: Path) -> None:
    leave_a_survivor(tmp_path)

    with Parent(tmp_path, {"orders": 1}) as parent:
        parent.slot_when(SlotState.RUNNING)
        parent.client.scale({"orders": 2})

        parent.slot_when(SlotState.RUNNING, slot=1)
        assert slot_files(tmp_path) == ["orders.0.slot", "orders.1.slot"]
        assert parent.log("refused") == []


def test_dynamic_members_and_groups_that_are_gone_have_nobody_to_leave_for_them(tmp_path: Path) -> None:
    killed(tmp_path, {"orders": 2, "bills": 1}, is_static=False)

    with Parent(tmp_path, {"orders": 1}, is_static=False) as parent:
        parent.snapshot_when(all_run)
        wait_until(lambda: slot_files(tmp_path) == ["orders.0.slot"], 15)

        assert parent.log("leave") == []
        assert parent.events("slot.left_over") == []


def test_files_that_are_no_slots_of_ours_are_not_taken_for_such(tmp_path: Path) -> None:
    killed(tmp_path, {"orders": 1})
    for name in ("orders.x.slot", "orders.01.slot", "orders.slot", "bills.3.slot"):
        (tmp_path / "run" / name).touch(0o600)

    with Parent(tmp_path, {"orders": 1}) as parent:
        parent.snapshot_when(all_run)

        assert parent.log("leave") == []
        assert slot_files(tmp_path) == ["orders.0.slot"]
