"""Workers are held to what they may use: real processes, real memory, fake Kafka."""

import os
from pathlib import Path
from typing import Any

from supervisor.core.events import Severity
from supervisor.core.limits import Allowance, Worn
from supervisor.core.progress import Limits
from supervisor.core.snapshot import SlotState
from supervisor.core.worker_stats import WorkerStats
from supervisor.parent.slots.limits import SlotLimits
from supervisor.parent.slots.readings import Reading
from supervisor.parent.slots.telemetry import Telemetry
from tests.process.parents import Parent
from tests.waiting import is_alive, wait_until

MB = 1_000_000


def allowance(**limits: Any) -> dict[str, Any]:
    return {"allowance": {"variance": 0.0, "shortest_life": 0.0, **limits}}


def grow(parent: Parent) -> None:
    (parent.folder / "now").touch()


class Draws:
    """Chance that was written down before; more than that is an error."""

    def __init__(self, *draws: float) -> None:
        self._left = list(draws)

    def random(self) -> float:
        return self._left.pop(0)


def seen_of_us(*, since: float, settled: int = 0) -> Telemetry:
    seen = Telemetry(os.getpid(), Limits(30.0, tick_timeout=30.0, stall_timeout=30.0), now=since)
    seen.told(WorkerStats(settled=settled), now=since)
    return seen


def limits_with(allowance: Allowance, *draws: float) -> SlotLimits:
    limits = SlotLimits(allowance)
    limits._random = Draws(*draws)  # type: ignore[assignment]
    return limits


def test_chance_is_drawn_once_for_each_incarnation() -> None:
    limits = limits_with(Allowance(max_records=1000, variance=0.5), 0.0, 0.9)
    first, second = seen_of_us(since=0.0, settled=600), seen_of_us(since=0.0, settled=600)

    assert [limits.weigh(first, now=100.0 + look) for look in range(3)] == [None] * 3
    found = [limits.weigh(second, now=100.0 + look) for look in range(3)]

    assert [one.limit for one in found if isinstance(one, Worn)] == ["max_records"] * 3


def test_nothing_is_judged_where_no_worker_is_and_the_same_one_keeps_its_chance_over_that() -> None:
    limits = limits_with(Allowance(max_records=1000, variance=0.5), 0.9)
    seen = seen_of_us(since=0.0, settled=600)

    assert limits.weigh(None, now=100.0) is None
    assert isinstance(limits.weigh(seen, now=100.0), Worn)
    assert limits.weigh(None, now=100.0) is None
    assert isinstance(limits.weigh(seen, now=100.0), Worn)


def test_a_workers_age_counts_from_its_own_start() -> None:
    limits = limits_with(Allowance(max_age=60.0, variance=0.0), 0.0)
    seen = seen_of_us(since=1000.0)

    assert limits.weigh(seen, now=1059.9) is None
    assert isinstance(limits.weigh(seen, now=1060.0), Worn)


def test_a_worker_that_has_counted_nothing_yet_has_used_nothing_that_is_known() -> None:
    limits = limits_with(Allowance(max_records=0, variance=0.0), 0.0)
    seen = seen_of_us(since=0.0)
    seen.stats = None

    assert limits.weigh(seen, now=100.0) is None


def test_a_replacement_in_vain_makes_the_next_worker_of_the_slot_live_longer() -> None:
    limits = limits_with(Allowance(rss_soft=100, variance=0.0), 0.0, 0.0, 0.0, 0.0)
    waits = []
    for age in (10.0, 10.0, 60.0):
        seen = seen_of_us(since=50_000.0)
        seen.reading = Reading(200)
        worn = limits.weigh(seen, now=50_000.0 + age)
        assert isinstance(worn, Worn)
        waits.append(limits.replaced(worn, seen, now=50_000.0 + age).fields.get("not_again_for"))

    assert waits == [None, 60.0, 120.0]
    last = seen_of_us(since=50_000.0)
    last.reading = Reading(200)
    assert limits.weigh(last, now=50_119.9) is None
    assert isinstance(limits.weigh(last, now=50_120.0), Worn)


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
