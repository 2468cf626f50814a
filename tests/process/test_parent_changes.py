"""Reload, scale, rolling restart, pause and drain of a real parent over fake workers."""

import json
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from supervisor.control.answers import Operation
from supervisor.control.client import Refused
from supervisor.core.snapshot import SlotState, Snapshot
from tests.process.parents import Parent, all_run, leave_a_survivor, pick
from tests.waiting import is_alive, wait_until

ORDERS, BILLS = "orders", "bills"


def pids(snapshot: Snapshot) -> dict[str, int | None]:
    return {f"{slot.group}/{slot.slot}": slot.pid for group in snapshot.groups for slot in group.slots}


def write(parent: Parent, **wanted: Any) -> None:
    (parent.folder / "next").write_text(json.dumps(wanted))


def over(parent: Parent, begun: Operation, timeout: float = 30) -> Operation:
    """Return an operation once it is over."""

    def is_over() -> Operation | None:
        now = parent.client.operation(begun.number)
        return None if now.state == "running" else now

    found = wait_until(is_over, timeout, otherwise=f"{begun.verb} is not over")
    assert found is not None
    return found


def reload(parent: Parent, **wanted: Any) -> Operation:
    write(parent, **wanted)
    return over(parent, parent.client.reload())


def told(parent: Parent, name: str) -> list[str]:
    """Return the ``gap`` that each working incarnation of a slot was told."""
    return [line.what.split()[1] for line in parent.log("told") if line.name == name and line.mode == "work"]


def test_p9_a_reload_without_a_change_touches_nobody(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2, BILLS: 1}) as parent:
        before = pids(parent.snapshot_when(all_run))

        done = reload(parent)

        assert (done.state, done.error, done.code) == ("done", "", 0)
        assert done.lines == ("orders: unchanged", "bills: unchanged")
        assert pids(parent.client.status()) == before
        assert [event.name for event in parent.events() if event.name.startswith("reload.")] == [
            "reload.started",
            "reload.done",
        ]


def test_a_changed_group_is_rolled_one_slot_at_a_time_and_others_are_left_alone(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 3, BILLS: 1}) as parent:
        before = pids(parent.snapshot_when(all_run))

        done = reload(parent, changes={ORDERS: {"max_gap": 77}})

        assert done.state == "done"
        assert done.lines[0] == "orders: rolled (max_gap)"
        after = pids(parent.snapshot_when(all_run))
        assert after["bills/0"] == before["bills/0"]
        assert all(after[f"orders/{slot}"] != before[f"orders/{slot}"] for slot in range(3))
        for slot in range(3):
            assert told(parent, f"orders-{slot}") == ["gap=1000", "gap=77"]
        steps = [(line.name, line.what) for line in parent.log() if line.incarnation == 2 and line.what == "start"]
        assert [name for name, _ in steps] == ["orders-0", "orders-1", "orders-2"]
        stops = [line.at for line in parent.log("stop keep")]
        starts = [line.at for line in parent.log("start") if line.incarnation == 2]
        moments = [at for pair in zip(stops, starts, strict=True) for at in pair]
        assert all(first < second for first, second in pairwise(moments)), "one is back before the next is stopped"
        assert [slot.restarts for slot in parent.client.status().groups[0].slots] == [0, 0, 0]


def test_p9_a_roll_whose_new_worker_dies_goes_back_to_the_old_plan(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {ORDERS: 3, BILLS: 1})
    parent.behave("fussy 77", "orders-1")
    with parent:
        before = pids(parent.snapshot_when(all_run))

        done = reload(parent, changes={ORDERS: {"max_gap": 77}, BILLS: {"max_gap": 5}})

        assert (done.state, done.code) == ("failed", 1)
        assert "orders did not take the new configuration" in done.error
        after = pids(parent.snapshot_when(all_run))
        assert after["orders/2"] == before["orders/2"], "it was never touched"
        assert told(parent, "orders-0") == ["gap=1000", "gap=77", "gap=1000"]
        assert told(parent, "orders-1")[-1] == "gap=1000"
        assert told(parent, "bills-0") == ["gap=1000", "gap=5"], "other groups go on"
        failed = parent.events("reload.failed")
        assert failed[0].group == ORDERS
        assert "orders/1" in failed[0].text

        again = reload(parent, changes={BILLS: {"max_gap": 5}})
        assert again.lines == ("orders: unchanged", "bills: unchanged")


def test_p9_a_configuration_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        before = pids(parent.snapshot_when(all_run))

        unknown = reload(parent, problems=["groups.orders: no module 'shop'"], changes={ORDERS: {"max_gap": 77}})
        renamed = reload(parent, supervisor="web-2")
        (parent.folder / "next").write_text("{")
        broken = over(parent, parent.client.reload())

        assert {one.code for one in (unknown, renamed, broken)} == {78}
        assert "no module 'shop'" in unknown.error
        assert "supervisor.name cannot change while it runs" in renamed.error
        assert pids(parent.client.status()) == before
        assert len(parent.events("reload.failed")) == 3


def test_a_reload_changes_what_the_supervisor_itself_goes_by_and_names_it(tmp_path: Path) -> None:
    """A survivor's grace is the one that is in force when it is judged, not the one of the start."""
    leave_a_survivor(tmp_path)
    with Parent(tmp_path, {ORDERS: 2}, orphan_grace=600.0) as parent:
        parent.slot_when(SlotState.RUNNING)
        assert pick(parent.client.status(), slot=1).state is SlotState.STARTING

        done = reload(parent, policy={"orphan_grace": 0.0}, retention={"max_age": 60.0, "max_size": 1 << 20})

        assert done.state == "done", done.error
        assert done.lines[0] == (
            "supervisor: applied without a restart (orphan_grace, journal.max_age, journal.max_size)"
        )
        parent.slot_when(SlotState.RUNNING, slot=1)
        assert [event.fields["class"] for event in parent.events("worker.exited") if event.slot == 1] == ["survivor"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2, BILLS: 1}) as parent:
        before = pids(parent.snapshot_when(all_run))
        write(parent, groups={ORDERS: 3, "new": 1}, changes={ORDERS: {"topics": ["orders", "b"]}})

        done = over(parent, parent.client.reload(dry_run=True))

        assert done.lines == (
            "bills: removed",
            "orders: rolled, the last slot leaves for a moment (topics), workers 2 to 3",
            "new: added",
        )
        assert pids(parent.client.status()) == before
        assert parent.events("reload.started") == []


def test_groups_are_added_removed_and_resized(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2, BILLS: 1}) as parent:
        before = pids(parent.snapshot_when(all_run))

        done = reload(parent, groups={ORDERS: 3, "new": 1})

        assert done.state == "done"
        snapshot = parent.snapshot_when(all_run)
        after = pids(snapshot)
        assert [group.name for group in snapshot.groups] == [ORDERS, "new"]
        assert list(after) == ["orders/0", "orders/1", "orders/2", "new/0"]
        assert (after["orders/0"], after["orders/1"]) == (before["orders/0"], before["orders/1"])
        assert [line.name for line in parent.log("stop leave")] == ["bills-0"]
        wait_until(lambda: not (tmp_path / "run" / "bills.0.slot").exists())
        with pytest.raises(Refused, match="no group is called 'bills'"):
            parent.client.restart(BILLS)


def test_a_change_of_topics_has_only_the_last_slot_leave(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 3}) as parent:
        parent.snapshot_when(all_run)

        done = reload(parent, changes={ORDERS: {"topics": ["orders", "more"]}})

        assert done.state == "done"
        stops = [(line.name, line.what) for line in parent.log("stop")]
        assert stops == [("orders-0", "stop keep"), ("orders-1", "stop keep"), ("orders-2", "stop leave")]
        assert {line.what.split("topics=")[1] for line in parent.log("told") if line.incarnation == 2} == {
            "orders,more"
        }


def test_a_group_that_reads_fewer_topics_has_every_slot_leave(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)

        done = reload(parent, changes={ORDERS: {"topics": ["others"]}})

        assert done.lines[0] == "orders: rolled, each slot leaves for a moment (topics)"
        assert [line.what for line in parent.log("stop")] == ["stop leave", "stop leave"]
        parent.snapshot_when(all_run)


def test_a_change_of_protocol_stops_the_whole_group_before_any_of_it_starts(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)

        done = reload(parent, changes={ORDERS: {"protocol": "consumer"}})

        assert done.state == "done"
        assert "stopped and started as a whole" in done.lines[0]
        parent.snapshot_when(all_run)
        stops = [line.at for line in parent.log("stop leave")]
        starts = [line.at for line in parent.log("start") if line.incarnation > 1 and line.mode == "work"]
        assert len(stops) == len(starts) == 2
        assert max(stops) < min(starts)


def test_a_slot_that_an_operator_stopped_stays_down_over_a_reload(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)
        parent.client.stop("orders/0")
        parent.slot_when(SlotState.STOPPED)

        assert reload(parent, changes={ORDERS: {"max_gap": 77}}).state == "done"

        assert pick(parent.client.status()).state is SlotState.STOPPED
        parent.client.start("orders/0")
        parent.slot_when(SlotState.RUNNING)
        assert told(parent, "orders-0")[-1] == "gap=77"


def test_a_group_is_scaled_up_and_down_from_its_highest_slot(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 1}) as parent:
        before = pids(parent.snapshot_when(all_run))

        assert parent.client.scale({ORDERS: 3}).slots == ("orders/0", "orders/1", "orders/2")
        parent.snapshot_when(lambda seen: len(seen.groups[0].slots) == 3 and all_run(seen))
        parent.client.scale({ORDERS: 1})
        snapshot = parent.snapshot_when(lambda seen: len(seen.groups[0].slots) == 1)

        assert pids(snapshot) == before
        assert snapshot.groups[0].workers == 1
        assert [line.name for line in parent.log("stop leave")] in (["orders-2", "orders-1"], ["orders-1", "orders-2"])
        wait_until(lambda: sorted(path.name for path in (tmp_path / "run").glob("*.slot")) == ["orders.0.slot"])
        scaled = parent.events("group.scaled")
        assert [(event.fields["before"], event.fields["workers"]) for event in scaled] == [(1, 3), (3, 1)]

        with pytest.raises(Refused, match="no group is called 'order'"):
            parent.client.scale({"order": 2})
        with pytest.raises(Refused, match="greater than or equal to 1"):
            parent.client.scale({ORDERS: 0})


def test_a_scale_holds_until_a_reload_changes_workers(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 1}) as parent:
        parent.snapshot_when(all_run)
        parent.client.scale({ORDERS: 3})

        reload(parent, changes={ORDERS: {"max_gap": 77}})
        kept = parent.snapshot_when(all_run)
        reload(parent, groups={ORDERS: 2}, changes={ORDERS: {"max_gap": 77}})

        assert len(kept.groups[0].slots) == 3
        parent.snapshot_when(lambda seen: len(seen.groups[0].slots) == 2 and all_run(seen))


def test_p4_a_slot_that_is_wanted_again_while_it_leaves_is_filled_once(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {ORDERS: 2})
    parent.behave("deaf", "orders-1")
    with parent:
        parent.snapshot_when(all_run)
        parent.client.scale({ORDERS: 1})
        parent.slot_when(SlotState.DRAINING, slot=1)
        parent.behave("work", "orders-1")
        parent.client.scale({ORDERS: 2})

        after = parent.slot_when(SlotState.RUNNING, slot=1, incarnation=2)

        assert after.pid is not None
        assert parent.log("refused") == []


def test_p4_a_slot_that_is_configured_again_waits_for_the_survivor_in_it_and_keeps_its_file(tmp_path: Path) -> None:
    leave_a_survivor(tmp_path)
    with Parent(tmp_path, {ORDERS: 1}) as parent:
        parent.slot_when(SlotState.RUNNING)
        parent.client.scale({ORDERS: 2})
        waiting = parent.snapshot_when(lambda seen: len(seen.groups[0].slots) == 2)

        assert pick(waiting, slot=1).state is SlotState.STARTING
        parent.slot_when(SlotState.RUNNING, slot=1)

        assert (tmp_path / "run" / "orders.1.slot").exists()
        assert parent.log("refused") == []
        deaths = {event.slot: event.fields["class"] for event in parent.events("worker.exited")}
        assert deaths == {0: "unknown", 1: "survivor"}


def test_a_rolling_restart_waits_for_each_slot_and_stops_at_the_first_that_fails(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 3}) as parent:
        before = pids(parent.snapshot_when(all_run))

        done = over(parent, parent.client.restart_rolling(ORDERS))
        assert done.state == "done"
        after = pids(parent.snapshot_when(all_run))
        assert set(after.values()).isdisjoint(before.values())
        starts = [line.name for line in parent.log("start") if line.incarnation == 2]
        assert starts == ["orders-0", "orders-1", "orders-2"]

        parent.behave("exit 1", "orders-1")
        failed = over(parent, parent.client.restart_rolling())
        assert (failed.state, failed.code) == ("failed", 1)
        assert failed.error.startswith("orders/1 died: ")
        assert pids(parent.client.status())["orders/2"] == after["orders/2"]


def test_a_paused_group_is_paused_for_the_next_incarnation_and_after_a_reload_too(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 1, BILLS: 1}) as parent:
        parent.snapshot_when(all_run)

        parent.client.pause(ORDERS)
        wait_until(lambda: parent.log("pause True"))
        snapshot = parent.client.status()
        assert [group.paused for group in snapshot.groups] == [True, False]
        pid = pick(snapshot).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.RUNNING, incarnation=2)
        reload(parent, changes={ORDERS: {"max_gap": 77}})
        parent.slot_when(SlotState.RUNNING, incarnation=3)

        assert [line.what for line in parent.log("start") if line.name == "orders-0"] == [
            "start",
            "start paused",
            "start paused",
        ]
        assert {line.name for line in parent.log("pause")} == {"orders-0"}

        parent.client.unpause(ORDERS)
        wait_until(lambda: parent.log("pause False"))
        assert not parent.client.status().groups[0].paused
        with pytest.raises(Refused, match="group 'orders' is not paused") as caught:
            parent.client.unpause(ORDERS)
        assert "--to earliest" in caught.value.help


def test_a_drain_stops_reading_waits_until_nothing_is_held_and_leaves(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)

        done = over(parent, parent.client.drain("orders/1"))

        assert done.state == "done"
        words = [line.what for line in parent.log() if line.name == "orders-1"]
        assert words[-2:] == ["pause True", "stop leave"]
        assert pick(parent.client.status(), slot=1).state is SlotState.STOPPED
        parent.client.start("orders/1")
        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=2)
        assert parent.log("start paused") == []


def test_p8_a_drain_that_takes_too_long_is_given_up_and_the_worker_works_on(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    parent.behave("holds")
    with parent:
        parent.snapshot_when(all_run)

        done = over(parent, parent.client.drain(ORDERS, timeout=0.5))

        assert done.state == "failed"
        assert "orders/0 (3 records)" in done.error
        wait_until(lambda: parent.log("pause False"))
        assert parent.log("stop") == []


def test_one_thing_at_a_time_is_done_to_a_group_and_who_asked_is_told(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {ORDERS: 1, BILLS: 1})
    parent.behave("holds")
    with parent:
        parent.snapshot_when(all_run)
        parent.client.drain(ORDERS, timeout=60)

        with pytest.raises(Refused, match="drain orders is under way"):
            parent.client.restart_rolling("orders/0")
        with pytest.raises(Refused, match="drain orders is under way"):
            parent.client.reload()
        over(parent, parent.client.restart_rolling(BILLS))

        assert [event.fields["verb"] for event in parent.events("operator.action")] == ["drain", "restart"]
        with pytest.raises(Refused, match="no operation '99' is known"):
            parent.client.operation(99)


def test_p8_what_is_under_way_does_not_keep_the_supervisor_from_stopping(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    parent.behave("holds")
    with parent:
        parent.snapshot_when(all_run)
        parent.client.drain(ORDERS, timeout=60)

        parent.signal(signal.SIGTERM)

        assert parent.exit_code() == 0


def test_a_dump_asks_workers_for_their_stacks_and_logs_every_state(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)

        assert parent.client.dump("orders/1").slots == ("orders/1",)
        wait_until(lambda: [line.name for line in parent.log("dumped")] == ["orders-1"])
        parent.signal(signal.SIGUSR1)
        wait_until(lambda: len(parent.log("dumped")) == 3)

        log = parent.errors.read_text()
        assert log.count("supervisor.state") == 2
        assert log.count("slot.stands") == 3


def test_signals_do_what_the_table_says(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        before = parent.snapshot_when(all_run)
        for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGUSR2):
            parent.signal(number)
        wait_until(lambda: parent.log("reopened"))
        write(parent, changes={ORDERS: {"max_gap": 77}})

        parent.signal(signal.SIGHUP)
        wait_until(lambda: parent.events("reload.done"), 20)
        after = parent.snapshot_when(all_run)

        assert pids(after) != pids(before)
        assert told(parent, "orders-0") == ["gap=1000", "gap=77"]
        write(parent, supervisor="web-2")
        parent.signal(signal.SIGHUP)
        wait_until(lambda: parent.events("reload.failed"))
        assert pids(parent.client.status()) == pids(after)


def test_sigquit_does_not_wait_for_a_worker_that_does_not_hear(tmp_path: Path) -> None:
    parent = Parent(tmp_path, stop_timeout=60.0, fast_timeout=0.3)
    parent.behave("stubborn")
    with parent:
        pid = parent.snapshot_when(all_run).groups[0].slots[0].pid

        parent.signal(signal.SIGQUIT)

        assert parent.exit_code() == 0
        assert pid is not None
        assert not is_alive(pid)
