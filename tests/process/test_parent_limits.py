"""Workers are held to what they may use: real processes, real memory, fake Kafka."""

from pathlib import Path
from typing import Any

from supervisor.core.events import Severity
from supervisor.core.snapshot import SlotState
from tests.process.parents import Parent
from tests.waiting import is_alive, wait_until

MB = 1_000_000


def allowance(**limits: Any) -> dict[str, Any]:
    return {"allowance": {"variance": 0.0, "shortest_life": 0.0, **limits}}


def grow(parent: Parent) -> None:
    (parent.folder / "now").touch()


def test_workers_over_the_soft_limit_are_replaced_one_at_a_time_and_it_is_no_failure(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 3}, **allowance(rss_soft=150 * MB))
    parent.behave("grow 200")
    with parent:
        for slot in range(3):
            parent.slot_when(SlotState.RUNNING, slot=slot)
        parent.behave("slow 2.5")  # so long that the next one's reading comes meanwhile

        grow(parent)
        for slot in range(3):
            parent.slot_when(SlotState.RUNNING, slot=slot, incarnation=2, timeout=40)

        recycled = parent.events("worker.recycled")
        assert sorted(event.slot for event in recycled if event.slot is not None) == [0, 1, 2]
        assert all(event.fields["limit"] == "rss_soft" for event in recycled)
        assert all(event.fields["rss_bytes"] > 150 * MB for event in recycled)  # type: ignore[operator]
        deaths = parent.events("worker.exited")
        assert [(death.fields["class"], death.severity) for death in deaths] == [("recycle", Severity.INFO)] * 3
        assert parent.events("slot.backoff") == []
        assert len(parent.log("stop keep")) == 3
        downs: list[int | None] = []
        for event in parent.events():
            if event.name == "worker.recycled":
                downs.append(event.slot)
            if event.name == "worker.ready" and event.slot in downs:
                downs.remove(event.slot)
            assert len(downs) <= 1, "a second worker of the group was taken down before the first one was back"


def test_a_worker_that_is_always_over_the_soft_limit_is_not_restarted_in_a_loop(tmp_path: Path) -> None:
    with Parent(tmp_path, **allowance(rss_soft=1024)) as parent:
        parent.slot_when(SlotState.RUNNING, incarnation=2)
        wait_until(lambda: (parent.slot_when(SlotState.RUNNING).uptime or 0.0) > 4, 20)

        assert len(parent.events("worker.recycled")) == 1


def test_a_worker_over_the_hard_limit_is_ended_at_once_though_it_ignores_sigterm(tmp_path: Path) -> None:
    parent = Parent(tmp_path, **allowance(rss_hard=150 * MB))
    parent.behave("stubborn-grow 200")
    with parent:
        before = parent.slot_when(SlotState.RUNNING)
        assert before.pid is not None
        parent.behave("work")

        grow(parent)
        parent.slot_when(SlotState.RUNNING, incarnation=2, timeout=30)

        assert not is_alive(before.pid)
        (over,) = parent.events("worker.overweight")
        (death,) = parent.events("worker.exited")
        assert over.fields["rss_hard"] == 150 * MB
        assert (death.fields["class"], death.fields["rung"], death.fields["status"]) == ("oom", "kill", -9)
        assert death.text.startswith("ended for its memory: ")
        assert "rss_hard is 150.0 MB" in death.text


def test_a_worker_is_replaced_after_its_records_and_after_its_age(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}, **allowance(max_records=30)) as parent:
        parent.slot_when(SlotState.RUNNING, incarnation=2)
        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=2)

        assert {event.fields["limit"] for event in parent.events("worker.recycled")} == {"max_records"}

    with Parent(tmp_path, **allowance(max_age=1.0)) as parent:
        parent.slot_when(SlotState.RUNNING, incarnation=3)

        assert {event.fields["limit"] for event in parent.events("worker.recycled")} == {"max_age"}


def test_a_worker_that_is_held_is_not_replaced(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}, **allowance(max_age=2.0)) as parent:
        parent.slot_when(SlotState.RUNNING)
        parent.client.hold("orders/0")

        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=3)

        assert parent.slot_when(SlotState.RUNNING).incarnation == 1
