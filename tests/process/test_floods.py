"""Too many dead letters: the parent has all workers of the group hold, says it once, and lets them try again."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.snapshot import FloodSnapshot, SlotState, Snapshot
from tests.process.parents import Parent, all_run, pick
from tests.waiting import wait_until

TRIPPED: dict[str, Any] = {"state": "tripped", "reason": "100 dead letters in a row"}
MANUAL = {"consecutive": 100}


def flood(snapshot: Snapshot, group: str = "orders") -> FloodSnapshot | None:
    return next(found.flood for found in snapshot.groups if found.name == group)


def told(parent: Parent, name: str) -> list[str]:
    return [line.what.removeprefix("flood ") for line in parent.log("flood") if line.name == name]


def test_all_workers_of_the_group_hold_by_one_workers_word_and_go_on_by_an_operators(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2, "bills": 1}, flood=MANUAL) as parent:
        parent.snapshot_when(all_run)
        for slot in ("orders-0", "orders-1"):
            parent.have_say(slot, "flood", **TRIPPED)
        wait_until(lambda: not list(tmp_path.glob("*.frame")))
        snapshot = parent.snapshot_when(lambda now: flood(now) is not None)
        wait_until(lambda: all(told(parent, f"orders-{slot}") for slot in range(2)))

        parent.client.unpause("orders")
        wait_until(lambda: all(len(told(parent, f"orders-{slot}")) == 2 for slot in range(2)))

        assert told(parent, "orders-0") == ["tripped amnesty=False", "normal amnesty=True"]
        assert told(parent, "bills-0") == []
        assert flood(parent.client.status()) is None
        (condition,) = [group.condition for group in snapshot.groups if group.name == "orders"]
        assert condition.startswith("flood: 100 dead letters in a row since ")
        assert condition.endswith(": supervisor resume orders")
        assert [event.fields["reason"] for event in parent.events("flood.tripped")] == [TRIPPED["reason"]]
        assert [event.fields["by"] for event in parent.events("flood.resumed")] == ["an operator"]


def test_after_its_time_a_few_records_may_try_and_decide_with_no_further_alert(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}, flood={**MANUAL, "resume_after": 0.5}) as parent:
        parent.snapshot_when(all_run)
        parent.have_say("orders-0", "flood", **TRIPPED)
        wait_until(lambda: told(parent, "orders-1")[-1:] == ["half-open amnesty=False"])
        parent.have_say("orders-1", "flood", state="tripped", reason="those that tried failed")
        wait_until(lambda: told(parent, "orders-1").count("half-open amnesty=False") == 2)

        parent.have_say("orders-1", "flood", state="passed")
        parent.snapshot_when(lambda now: flood(now) is None)
        wait_until(lambda: told(parent, "orders-0")[-1] == "normal amnesty=False")

        assert len(parent.events("flood.tripped")) == 1
        assert [event.fields["by"] for event in parent.events("flood.resumed")] == ["records of slot 1"]


def test_what_workers_add_up_to_trips_though_no_worker_says_so(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 3}, flood={"ratio": 0.5, "min_records": 200, "window": 30.0}) as parent:
        parent.snapshot_when(all_run)
        assert flood(parent.client.status()) is None
        parent.behave("fails")
        for slot in range(3):
            os.kill(pick(parent.client.status(), slot=slot).pid or 0, signal.SIGKILL)

        parent.snapshot_when(lambda now: flood(now) is not None)

        (event,) = parent.events("flood.tripped")
        assert event.fields["by"] == "all workers together"
        wait_until(lambda: all(told(parent, f"orders-{slot}") == ["tripped amnesty=False"] for slot in range(3)))


def test_a_worker_that_starts_in_a_flood_holds_from_its_first_poll_on(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 1}, flood=MANUAL) as parent:
        started = parent.snapshot_when(all_run)
        parent.have_say("orders-0", "flood", **TRIPPED)
        parent.snapshot_when(lambda now: flood(now) is not None)

        os.kill(pick(started).pid or 0, signal.SIGKILL)

        wait_until(lambda: [line.what for line in parent.log("starts in")] == ["starts in flood tripped"])


@pytest.mark.parametrize("action", ["stop", "shed"])
def test_it_stops_the_group_or_sheds_where_the_configuration_says_so(tmp_path: Path, action: str) -> None:
    with Parent(tmp_path, {"orders": 2}, flood={**MANUAL, "action": action, "resume_after": 0.5}) as parent:
        parent.snapshot_when(all_run)
        parent.have_say("orders-0", "flood", **TRIPPED)
        found = flood(parent.snapshot_when(lambda now: flood(now) is not None))
        assert found is not None
        assert found.action == action

        if action == "stop":
            parent.slot_when(SlotState.STOPPED, slot=0)
            parent.slot_when(SlotState.STOPPED, slot=1)
            parent.client.start("orders")

        parent.snapshot_when(lambda now: flood(now) is None and all_run(now))
        assert len(parent.events("flood.tripped")) == len(parent.events("flood.resumed")) == 1
