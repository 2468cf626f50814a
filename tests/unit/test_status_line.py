from dataclasses import replace

from supervisor.core.snapshot import BreakerSnapshot, GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.core.status_line import LONGEST, status_line


def slot(
    number: int, state: SlotState, reason: str = "", *, group: str = "orders", wait: float | None = None
) -> SlotSnapshot:
    return SlotSnapshot(group, number, state, reason=reason, next_start_in=wait)


def snapshot(*slots: SlotSnapshot) -> Snapshot:
    names = list(dict.fromkeys(one.group for one in slots))
    groups = tuple(GroupSnapshot(name, ("t",), 1, tuple(one for one in slots if one.group == name)) for name in names)
    return Snapshot("web-1", "1", 1, at=0.0, uptime=1.0, groups=groups)


def test_all_is_well() -> None:
    seen = snapshot(slot(0, SlotState.RUNNING), slot(0, SlotState.RUNNING, group="bills"))

    assert status_line(seen) == "2/2 groups ok, 2/2 workers running"


def test_a_slot_that_waits_is_named_with_its_wait_and_its_reason() -> None:
    seen = snapshot(
        slot(0, SlotState.RUNNING, group="bills"),
        slot(0, SlotState.RUNNING),
        slot(2, SlotState.BACKOFF, "SIGSEGV at orders/1@812", wait=16.4),
    )

    assert status_line(seen) == "1/2 groups ok, 2/3 workers running; orders/2 backoff 16s: SIGSEGV at orders/1@812"


def test_the_worst_is_named_first_and_only_three() -> None:
    seen = snapshot(
        slot(0, SlotState.STARTING, "exit code 1"),
        slot(1, SlotState.BACKOFF, "exit code 1", wait=2.0),
        slot(2, SlotState.BACKOFF, "exit code 1", wait=2.0),
        slot(3, SlotState.FATAL, "wrong configuration: x"),
    )

    named = [part.split()[0] for part in status_line(seen).split("; ")[1:]]
    assert named == ["orders/3", "orders/1", "orders/2", "1"]
    assert status_line(seen).endswith("; 1 more")


def test_what_starts_for_the_first_time_or_was_stopped_is_no_trouble() -> None:
    seen = snapshot(
        slot(0, SlotState.STARTING), slot(1, SlotState.STOPPED, "held; SIGKILL"), slot(2, SlotState.LEAVING)
    )

    assert status_line(seen) == "1/1 groups ok, 0/3 workers running"


def test_a_hung_worker_that_is_being_ended_is_trouble() -> None:
    seen = snapshot(slot(0, SlotState.DRAINING, "in its handler for 31s"))

    assert status_line(seen).startswith("0/1 groups ok")


def test_a_group_that_is_held_back_as_a_whole_is_trouble() -> None:
    seen = snapshot(slot(0, SlotState.RUNNING))
    (group,) = seen.groups
    held = replace(group, breaker=BreakerSnapshot("db", 0.0, 0, 1.0), condition="breaker open: db since then")

    line = status_line(replace(seen, groups=(held,)))

    assert line == "0/1 groups ok, 1/1 workers running; orders breaker open: db since then"


def test_a_stop_says_who_is_not_down_yet() -> None:
    seen = snapshot(slot(0, SlotState.STOPPED), slot(1, SlotState.DRAINING), slot(2, SlotState.FATAL, "gave up"))

    assert status_line(seen, is_stopping=True) == "stopping: 2/3 workers down; orders/1 draining"


def test_a_reason_cannot_begin_another_assignment_nor_fill_the_datagram() -> None:
    line = status_line(snapshot(slot(0, SlotState.FATAL, "a\nMAINPID=1\r\n" + "x" * 5000)))

    assert "\n" not in line
    assert "\r" not in line
    assert len(line) == LONGEST
