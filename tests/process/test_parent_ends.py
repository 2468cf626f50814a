import os
import signal
import time
from pathlib import Path

import psutil

from supervisor.core.events import Severity
from supervisor.core.snapshot import SlotState
from tests.process.parents import RESTLESS, Parent
from tests.waiting import is_alive, wait_until


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children()


def test_a_terminated_parent_lets_every_worker_leave_and_ends_with_zero(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2, "bills": 1}) as parent:
        for group, slot in (("orders", 0), ("orders", 1), ("bills", 0)):
            parent.slot_when(SlotState.RUNNING, group=group, slot=slot)

        parent.signal(signal.SIGTERM)

        assert parent.exit_code() == 0
        assert sorted(line.name for line in parent.log("stop leave")) == ["bills-0", "orders-0", "orders-1"]
        assert not parent.client_socket.exists()


def test_a_repeated_term_changes_nothing(tmp_path: Path) -> None:
    parent = Parent(tmp_path, stop_timeout=3.0)
    parent.behave("deaf")
    with parent:
        parent.slot_when(SlotState.RUNNING)

        for _ in range(5):
            parent.signal(signal.SIGTERM)
            parent.slot_when(SlotState.DRAINING)

        assert parent.log("terminated") == []
        assert parent.exit_code() == 0
        assert len(parent.log("terminated")) == 1


def test_a_second_interrupt_is_fast(tmp_path: Path) -> None:
    parent = Parent(tmp_path, stop_timeout=60.0, fast_timeout=0.2)
    parent.behave("deaf")
    with parent:
        parent.slot_when(SlotState.RUNNING)
        parent.signal(signal.SIGINT)
        parent.slot_when(SlotState.DRAINING)

        begun = time.monotonic()
        parent.signal(signal.SIGINT)

        assert parent.exit_code() == 0
        assert time.monotonic() - begun < 5


def test_a_slot_in_backoff_leaves_before_the_parent_ends(tmp_path: Path) -> None:
    parent = Parent(tmp_path, backoff=[60.0, 1.0, 60.0, 0.0], failover_after=100.0)
    parent.behave("crash")
    with parent:
        last = parent.slot_when(SlotState.BACKOFF).incarnation

        parent.signal(signal.SIGTERM)

        assert parent.exit_code() == 0
        assert [line.incarnation for line in parent.log("leave")] == [last + 1]


def test_a_worker_that_cannot_leave_does_not_keep_the_parent(tmp_path: Path) -> None:
    parent = Parent(tmp_path, backoff=[60.0, 1.0, 60.0, 0.0], failover_after=100.0)
    parent.behave("crash")
    with parent:
        parent.slot_when(SlotState.BACKOFF)
        parent.behave("cannot-leave")

        parent.signal(signal.SIGTERM)

        assert parent.exit_code() == 0
        assert len(parent.log("leave")) == 2


def test_a_member_that_cannot_leave_is_no_crash_and_what_becomes_of_it_is_told(tmp_path: Path) -> None:
    parent = Parent(tmp_path, backoff=[60.0, 1.0, 60.0, 0.0], failover_after=100.0)
    parent.behave("crash")
    with parent:
        parent.slot_when(SlotState.BACKOFF)
        parent.behave("cannot-leave")

        parent.client.stop("orders")
        parent.slot_when(SlotState.STOPPED)

        told = [(event.severity, event.fields["class"], event.text) for event in parent.events("worker.exited")]
        said = "exit code 1 (could not leave group orders: _TRANSPORT); stays down"
        assert told[-2:] == [
            (Severity.INFO, "requested", f"{said}; leaving is tried once more"),
            (Severity.INFO, "requested", f"{said}; its partitions wait until its session times out"),
        ]


def test_a_crash_while_leaving_is_a_crash(tmp_path: Path) -> None:
    parent = Parent(tmp_path, backoff=[60.0, 1.0, 60.0, 0.0], failover_after=100.0)
    parent.behave("crash")
    with parent:
        parent.slot_when(SlotState.BACKOFF)
        parent.behave("dies-leaving")

        parent.client.stop("orders")
        parent.slot_when(SlotState.STOPPED)

        told = [(event.severity, event.fields["class"]) for event in parent.events("worker.exited")]
        assert told[-2:] == [(Severity.WARNING, "crash")] * 2


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 3}) as parent:
        pids = [parent.slot_when(SlotState.RUNNING, slot=slot).pid for slot in range(3)]

        parent.signal(signal.SIGKILL)
        parent.exit_code()

        wait_until(lambda: not any(pid and is_alive(pid) for pid in pids))


def test_a_new_parent_waits_for_survivors_and_never_runs_two_in_one_slot(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 2}, orphan_grace=60.0)
    parent.behave("survive 4", "orders-0")
    with parent:
        old = parent.slot_when(SlotState.RUNNING, slot=0).pid
        assert old is not None
        parent.slot_when(SlotState.RUNNING, slot=1)
        parent.behave("work", "orders-0")

        parent.signal(signal.SIGKILL)
        parent.exit_code()
        with parent:
            waiting = parent.slot_when(SlotState.STARTING, slot=0)
            assert waiting.reason == f"waits for pid {old}, left by an earlier supervisor"
            parent.slot_when(SlotState.RUNNING, slot=0)

            assert parent.log("refused") == []
            ended = next(line.at for line in parent.log("end") if line.pid == old)
            started = [line.at for line in parent.log("start") if line.name == "orders-0"]
            assert len(started) == 2
            assert started[1] >= ended


def test_a_survivor_that_never_ends_is_killed_after_the_grace(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    parent.behave("survive 600")
    with parent:
        old = parent.slot_when(SlotState.RUNNING).pid
        assert old is not None
        parent.behave("work")

        parent.signal(signal.SIGKILL)
        parent.exit_code()
        with parent:
            parent.slot_when(SlotState.RUNNING)

            assert not is_alive(old)
            (death,) = parent.events("worker.exited")
            assert (death.fields["pid"], death.fields["class"]) == (old, "survivor")
            assert parent.log("refused") == []


def test_a_survivor_of_a_slot_that_is_configured_no_more_is_killed_too(tmp_path: Path) -> None:
    old = Parent(tmp_path, {"orders": 2})
    old.behave("survive 600", "orders-1")
    with old:
        pid = old.slot_when(SlotState.RUNNING, slot=1).pid
        assert pid is not None
        old.signal(signal.SIGKILL)
        old.exit_code()

    with Parent(tmp_path, {"orders": 1}) as new:
        new.slot_when(SlotState.RUNNING)

        wait_until(lambda: not is_alive(pid))
        wait_until(lambda: not (tmp_path / "run" / "orders.1.slot").exists())


def test_a_second_supervisor_in_the_same_folder_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with Parent(tmp_path) as first:
        first.slot_when(SlotState.RUNNING)
        second = Parent(tmp_path).start()

        assert second.exit_code() == 73
        assert f"a supervisor is already running here (pid {first.pid} holds" in first.errors.read_text()
        assert first.slot_when(SlotState.RUNNING).incarnation == 1


def test_the_socket_of_a_dead_parent_is_replaced(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)
        parent.signal(signal.SIGKILL)
        parent.exit_code()
        assert parent.client_socket.exists()

        with parent:
            parent.slot_when(SlotState.RUNNING)


def test_a_stop_before_anything_started_is_obeyed(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 8})
    parent.behave("slow 30")
    with parent:
        parent.signal(signal.SIGTERM)

        assert parent.exit_code() == 0
        assert len(parent.log("start")) < 8


def test_a_folder_that_is_open_to_all_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o777)
    parent = Parent(tmp_path).start()

    assert parent.exit_code() == 78
    assert "is open to everybody" in parent.errors.read_text()


def test_two_hundred_restarts_leave_no_descriptor_thread_or_zombie(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 4}, **RESTLESS)
    parent.behave("crash")
    with parent:
        wait_until(lambda: len(parent.log("start")) > 20)
        proc = Path(f"/proc/{parent.pid}")
        descriptors, threads = len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))

        wait_until(lambda: len(parent.log("start")) > 220, 60)

        assert len(list((proc / "fd").iterdir())) <= descriptors + 3 * 4
        assert len(list((proc / "task").iterdir())) == threads == 3, "the loop's, the journal's and the ledger's"
        wait_until(lambda: all(child.status() != psutil.STATUS_ZOMBIE for child in children_of(parent.pid)))
        assert len(children_of(parent.pid)) <= 4


def test_a_storm_of_kills_is_seen_death_by_death(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 4}, **RESTLESS) as parent:
        killed = 0
        deadline = time.monotonic() + 5
        seen: set[int] = set()
        while killed < 60 and time.monotonic() < deadline:
            for group in parent.client.status().groups:
                for slot in group.slots:
                    if slot.pid and slot.state is SlotState.RUNNING and slot.pid not in seen:
                        seen.add(slot.pid)
                        os.kill(slot.pid, signal.SIGKILL)
                        killed += 1
        wait_until(lambda: len(parent.events("worker.exited")) >= killed)

        pids = [event.fields["pid"] for event in parent.events("worker.exited")]
        assert len(pids) == len(set(pids)) == killed
        assert set(pids) == seen
