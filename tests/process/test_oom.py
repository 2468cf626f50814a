"""Which deaths the out-of-memory killer is accused of: files as the kernel writes them, and a real parent."""

import os
import signal
from pathlib import Path

import pytest

from supervisor.core.snapshot import SlotState
from supervisor.parent.deaths.oom import RECENT, Finding, KillCounter, OomWatch
from tests.process.parents import Parent

KILLED = -signal.SIGKILL


def count(path: Path, kills: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"low 0\nhigh 0\nmax 7\noom 3\noom_kill {kills}\noom_group_kill 0\n")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a machine, a cgroup of ours and one of a slot in it."""
    count(tmp_path / "vmstat", 5)
    count(tmp_path / "ours" / "memory.events", 2)
    count(tmp_path / "orders-0" / "memory.events", 1)
    return tmp_path


@pytest.fixture
def watch(files: Path) -> OomWatch:
    return OomWatch(files / "ours", machine=files / "vmstat")


def judged(
    watch: OomWatch, cgroup: str = "", *, status: int = KILLED, by_us: bool = False, now: float = 1.0
) -> Finding:
    return watch.judge(status, cgroup, by_us=by_us, rss=812_000_000, now=now)


def test_a_kill_that_the_kernel_counted_is_the_out_of_memory_killers(files: Path, watch: OomWatch) -> None:
    count(files / "ours" / "memory.events", 3)

    assert judged(watch).oom


def test_each_counted_kill_explains_one_death(files: Path, watch: OomWatch) -> None:
    count(files / "ours" / "memory.events", 3)

    assert [judged(watch).oom, judged(watch).oom] == [True, False]


def test_a_kill_nobody_counted_was_somebody_elses(watch: OomWatch) -> None:
    assert judged(watch) == Finding()


def test_kills_from_before_the_supervisor_or_long_ago_explain_nothing(files: Path, watch: OomWatch) -> None:
    count(files / "ours" / "memory.events", 3)
    watch.look(now=1.0)

    assert not judged(watch, now=2.0 + RECENT).oom


@pytest.mark.parametrize("case", [{"status": -signal.SIGSEGV}, {"status": 1}, {"by_us": True}])
def test_other_signals_exits_and_our_own_kills_are_never_called_so(
    files: Path, watch: OomWatch, case: dict[str, int]
) -> None:
    count(files / "ours" / "memory.events", 3)

    assert judged(watch, status=case.get("status", KILLED), by_us=bool(case.get("by_us"))) == Finding()


def test_a_slots_own_cgroup_knows_better_than_the_one_above(files: Path, watch: OomWatch) -> None:
    slot = files / "orders-0"
    watch.begin(str(slot))
    count(files / "ours" / "memory.events", 3)

    assert not judged(watch, str(slot)).oom
    count(slot / "memory.events", 2)
    assert judged(watch, str(slot)).oom


def test_a_new_incarnation_begins_to_count_anew(files: Path, watch: OomWatch) -> None:
    slot = files / "orders-0"
    watch.begin(str(slot))
    count(slot / "memory.events", 2)
    watch.begin(str(slot))

    assert not judged(watch, str(slot)).oom


def test_without_a_counting_cgroup_a_kill_on_the_machine_is_only_a_hint_with_the_last_reading(files: Path) -> None:
    watch = OomWatch(files / "nothing", machine=files / "vmstat")
    count(files / "vmstat", 6)

    assert judged(watch) == Finding(hint="maybe the out-of-memory killer, last seen with 812.0 MB")
    assert judged(watch) == Finding()


def test_where_nothing_is_counted_at_all_it_may_always_have_been_it(tmp_path: Path) -> None:
    watch = OomWatch(tmp_path, machine=tmp_path / "vmstat")

    assert judged(watch).hint.startswith("maybe the out-of-memory killer")


def test_this_machine_counts_its_kills() -> None:
    assert KillCounter(Path("/proc/vmstat")).is_there


def test_a_worker_killed_by_hand_keeps_its_class_and_its_event_has_the_last_reading(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        before = parent.slot_when(SlotState.RUNNING)
        before = next(
            slot
            for group in parent.snapshot_when(lambda found: found.groups[0].slots[0].rss_bytes is not None).groups
            for slot in group.slots
        )
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        parent.slot_when(SlotState.RUNNING, incarnation=2)

        (death,) = parent.events("worker.exited")
        assert (death.fields["class"], death.text) == ("signal", "SIGKILL; starts again at once")
        assert death.fields["rss_bytes"] == before.rss_bytes
