"""A dependency is down: the parent tells all workers of the group, has one of them try, and says it once."""

import os
import signal
from pathlib import Path

import pytest

from supervisor.control.client import Refused
from supervisor.core.snapshot import BreakerSnapshot, Snapshot
from tests.process.parents import Parent, all_run, pick
from tests.waiting import wait_until

DOWN = {"state": "down", "name": "payments-db", "failures": 0, "after": 0.5}


def breaker(snapshot: Snapshot, group: str = "orders") -> BreakerSnapshot | None:
    return next(found.breaker for found in snapshot.groups if found.name == group)


def prober(snapshot: Snapshot) -> int | None:
    found = breaker(snapshot)
    return found.prober if found else None


def told(parent: Parent, name: str) -> list[str]:
    return [line.what.removeprefix("breaker ") for line in parent.log("breaker") if line.name == name]


def test_all_workers_of_the_group_hold_and_one_tries_until_it_says_that_it_is_up(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 3, "bills": 1}) as parent:
        parent.snapshot_when(all_run)
        parent.have_say("orders-1", "breaker", **DOWN)
        parent.snapshot_when(lambda now: prober(now) == 1)
        parent.have_say("orders-2", "breaker", **DOWN)  # it failed at the same time, and had not heard yet
        wait_until(lambda: all(told(parent, f"orders-{slot}") for slot in range(3)))

        parent.have_say("orders-1", "breaker", **{**DOWN, "failures": 1, "after": 1.0})
        snapshot = parent.snapshot_when(lambda now: (found := breaker(now)) is not None and found.failed_probes == 1)
        parent.have_say("orders-1", "breaker", state="up")
        parent.snapshot_when(lambda now: breaker(now) is None)
        wait_until(lambda: all(told(parent, f"orders-{slot}")[-1].startswith("open=False") for slot in range(3)))

        assert told(parent, "orders-0") == ["open=True probes=False name=payments-db", "open=False probes=False name="]
        assert told(parent, "orders-1")[0] == "open=True probes=True name=payments-db"
        assert told(parent, "bills-0") == []
        (condition,) = [group.condition for group in snapshot.groups if group.name == "orders"]
        assert condition.startswith("breaker open: payments-db since ")
        assert "next probe in" in condition
        assert [event.fields["dependency"] for event in parent.events("breaker.opened")] == ["payments-db"]
        assert [event.fields["failed_probes"] for event in parent.events("breaker.closed")] == [1]


@pytest.mark.parametrize("end", ["dies", "has nothing"])
def test_another_worker_tries_when_the_one_that_tried_is_gone_or_has_nothing_to_try_with(
    tmp_path: Path, end: str
) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        started = parent.snapshot_when(all_run)
        parent.have_say("orders-0", "breaker", **DOWN)
        parent.snapshot_when(lambda now: prober(now) == 0)
        wait_until(lambda: told(parent, "orders-1"))

        if end == "dies":
            os.kill(pick(started).pid or 0, signal.SIGKILL)
        else:
            parent.have_say("orders-0", "breaker", state="nothing")

        parent.snapshot_when(lambda now: prober(now) == 1)
        wait_until(lambda: told(parent, "orders-1")[-1] == "open=True probes=True name=payments-db")
        assert len(parent.events("breaker.opened")) == 1
        assert parent.events("breaker.closed") == []


def test_a_breaker_is_closed_when_no_worker_has_a_record_that_waits_for_it(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        parent.snapshot_when(all_run)
        parent.have_say("orders-0", "breaker", **DOWN)
        parent.snapshot_when(lambda now: prober(now) == 0)

        parent.have_say("orders-0", "breaker", state="nothing", idle=True)
        parent.snapshot_when(lambda now: prober(now) == 1)
        parent.have_say("orders-1", "breaker", state="nothing", idle=True)
        parent.snapshot_when(lambda now: breaker(now) is None)

        wait_until(lambda: all(told(parent, f"orders-{slot}")[-1].startswith("open=False") for slot in range(2)))
        assert [event.fields["by"] for event in parent.events("breaker.closed")] == ["no record waits for it"]


def test_a_worker_that_dies_before_it_says_that_all_is_well_leaves_no_breaker_open_for_good(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        started = parent.snapshot_when(all_run)
        parent.have_say("orders-0", "breaker", **DOWN)
        parent.snapshot_when(lambda now: prober(now) == 0)

        os.kill(pick(started).pid or 0, signal.SIGKILL)
        wait_until(lambda: parent.log("starts held probes=True"))
        parent.snapshot_when(all_run)
        parent.have_say("orders-0", "breaker", state="nothing", idle=True)  # its record was worked and committed

        parent.snapshot_when(lambda now: breaker(now) is None)


def test_a_worker_that_starts_while_a_dependency_is_down_holds_from_its_first_poll_on(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        started = parent.snapshot_when(all_run)
        parent.have_say("orders-0", "breaker", **DOWN)
        parent.snapshot_when(lambda now: prober(now) == 0)

        os.kill(pick(started, slot=1).pid or 0, signal.SIGKILL)

        wait_until(lambda: parent.log("starts held"))
        assert [(line.name, line.what) for line in parent.log("starts held")] == [
            ("orders-1", "starts held probes=False name=payments-db")
        ]


def test_an_operator_ends_the_hold_and_is_told_when_there_is_none(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        parent.snapshot_when(all_run)
        parent.have_say("orders-0", "breaker", **DOWN)
        parent.snapshot_when(lambda now: prober(now) == 0)

        parent.client.unpause("orders")

        assert breaker(parent.client.status()) is None
        assert [event.fields["by"] for event in parent.events("breaker.closed")] == ["an operator"]
        with pytest.raises(Refused, match="not paused"):
            parent.client.unpause("orders")


def test_a_frame_that_is_none_changes_nothing(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.snapshot_when(all_run)
        parent.have_say("orders-0", "breaker", state="down", name="payments-db", failures="many", after=1)
        wait_until(lambda: "parent.frame_refused" in parent.errors.read_text())

        assert breaker(parent.client.status()) is None
