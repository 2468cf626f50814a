import os
import signal
from pathlib import Path

from supervisor.core.events import Severity
from supervisor.core.snapshot import SlotState
from tests.process.parents import Parent, pick
from tests.waiting import is_alive, wait_until


def test_a_killed_worker_is_back_at_once_with_the_next_incarnation_and_one_event(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        before = parent.slot_when(SlotState.RUNNING, slot=1)
        assert before.pid is not None

        os.kill(before.pid, signal.SIGKILL)
        after = parent.slot_when(SlotState.RUNNING, slot=1, incarnation=2)

        deaths = parent.events("worker.exited")
        assert [(event.slot, event.fields["pid"], event.severity) for event in deaths] == [
            (1, before.pid, Severity.WARNING)
        ]
        assert deaths[0].text == "SIGKILL; starts again at once"
        assert (after.incarnation, after.restarts) == (2, 1)
        assert parent.slot_when(SlotState.RUNNING, slot=0).incarnation == 1


def test_a_restart_takes_a_fraction_of_a_second(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        for incarnation in range(1, 4):
            before = parent.slot_when(SlotState.RUNNING, incarnation=incarnation)
            assert before.pid is not None
            os.kill(before.pid, signal.SIGKILL)
            parent.behave("work")
            parent.client.start()
        parent.slot_when(SlotState.RUNNING, incarnation=4)
        started = {event.fields["incarnation"]: event.at for event in parent.events("slot.started")}
        died = {event.fields["incarnation"]: event.at for event in parent.events("worker.exited")}

        assert started[2] - died[1] < 0.2


def test_a_crash_loop_backs_off_and_names_the_record(tmp_path: Path) -> None:
    parent = Parent(tmp_path, failover_after=60.0)
    parent.behave("crash")
    with parent:
        snapshot = parent.slot_when(SlotState.BACKOFF, incarnation=7)

        assert snapshot.next_start_in is not None
        assert snapshot.reason == "SIGSEGV at orders/1@812 (convicted)", "four deaths that accuse are no failures"
        deaths = parent.events("worker.exited")
        assert {death.fields["in_flight"] for death in deaths} == {"orders/1@812"}
        delays = [event.fields["delay"] for event in parent.events("slot.backoff")]
        assert delays[:2] == [0.2, 0.4]


def test_a_slot_that_stays_down_leaves_the_group_first(tmp_path: Path) -> None:
    parent = Parent(tmp_path, failover_after=0.5, backoff=[0.2, 10.0, 30.0, 0.0])
    parent.behave("crash")
    with parent:
        wait_until(lambda: parent.log("leave"))
        parent.slot_when(SlotState.BACKOFF)

        assert [line.mode for line in parent.log("leave")] == ["leave"]
        assert [event.slot for event in parent.events("slot.left")] == [0]


def test_a_worker_that_ignores_everything_is_killed_on_its_deadline(tmp_path: Path) -> None:
    parent = Parent(tmp_path, is_static=False)
    parent.behave("stubborn")
    with parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None

        parent.client.stop("orders")
        parent.slot_when(SlotState.STOPPED)

        death = parent.events("worker.exited")[0]
        assert (death.fields["status"], death.fields["rung"]) == (-signal.SIGKILL, "kill")
        assert not is_alive(pid)


def test_a_record_too_long_in_its_handler_has_its_worker_dumped_and_replaced(tmp_path: Path) -> None:
    parent = Parent(tmp_path, handler_timeout=1.0)
    parent.behave("stuck")
    with parent:
        parent.slot_when(SlotState.RUNNING)
        parent.behave("work")
        parent.slot_when(SlotState.RUNNING, incarnation=2)

        assert parent.log("dumped")
        hang = parent.events("worker.hung")[0]
        assert hang.text.startswith("orders/1@812 is in its handler for")
        assert parent.events("worker.exited")[0].fields["class"] == "hung"


def test_a_stopped_process_is_found_by_its_tick_and_replaced(tmp_path: Path) -> None:
    with Parent(tmp_path, tick_timeout=1.0) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None

        os.kill(pid, signal.SIGSTOP)
        parent.slot_when(SlotState.RUNNING, incarnation=2)

        assert "poll loop stands still" in parent.events("worker.hung")[0].text
        assert not is_alive(pid)


def test_a_worker_that_is_not_ready_in_time_is_replaced_and_in_the_end_given_up(tmp_path: Path) -> None:
    parent = Parent(tmp_path, start_timeout=0.5, never_ready_limit=2, backoff=[0.1, 1.0, 0.1, 0.0])
    parent.behave("slow 60")
    parent.start()

    assert parent.exit_code() == 1
    assert "orders/0: not ready in 2 starts" in parent.errors.read_text()


def test_when_everything_is_given_up_the_supervisor_ends_with_one_and_the_reasons(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 2, "bills": 1})
    parent.behave("exit 78")
    parent.start()

    assert parent.exit_code() == 1
    errors = parent.errors.read_text()
    assert "every group was given up" in errors
    for slot in ("orders/0", "orders/1", "bills/0"):
        assert f"{slot}: wrong configuration: as told" in errors


def test_one_group_given_up_leaves_the_others_running(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 1, "bills": 1})
    parent.behave("exit 78", "bills-0")
    with parent:
        assert parent.slot_when(SlotState.FATAL, group="bills").reason == "wrong configuration: as told"
        parent.slot_when(SlotState.RUNNING)


def test_a_fenced_worker_waits_and_is_reported(tmp_path: Path) -> None:
    parent = Parent(tmp_path, fenced_delay=0.3)
    parent.behave("exit 76")
    parent.start()

    assert parent.exit_code() == 1
    errors = parent.errors.read_text()
    assert "worker.fenced" in errors
    assert "two supervisors are named 'web-1'" in errors


def test_a_worker_that_speaks_no_frames_is_cut_off_and_started_again(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    parent.behave("garbage")
    with parent:
        wait_until(lambda: parent.log("orphan"))
        parent.behave("work")

        parent.slot_when(SlotState.RUNNING, incarnation=2)


def test_a_flood_of_events_costs_bounded_memory_and_no_slot(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 2})
    parent.behave("flood", "orders-1")
    with parent:
        parent.slot_when(SlotState.RUNNING, slot=0)
        wait_until(lambda: parent.client.events().dropped > 1000, 30)

        assert len(parent.events()) == 1000
        parent.slot_when(SlotState.RUNNING, slot=1)


def test_what_a_dead_worker_left_in_its_process_group_is_killed(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    parent.behave("child")
    with parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None
        (line,) = wait_until(lambda: parent.log("child"))
        grandchild = int(line.what.split()[1])
        parent.behave("work")

        os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.RUNNING, incarnation=2)

        wait_until(lambda: not is_alive(grandchild))


def test_the_snapshot_has_rates_and_readings(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        snapshot = pick(
            parent.snapshot_when(lambda s: pick(s).rss_bytes is not None and pick(s).records_per_s is not None)
        )

        assert snapshot.rss_bytes is not None
        assert 1 << 20 < snapshot.rss_bytes < 1 << 30
        assert snapshot.cpu_percent is not None
        assert snapshot.records_per_s is not None
        assert 20 < snapshot.records_per_s < 200
        assert snapshot.joined
        assert snapshot.stats is not None
        assert snapshot.stats.lag == 3


def test_events_reach_the_notifier_and_one_that_kills_it_comes_once(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 1}, notifier=["--die-of", "worker.exited"]) as parent:
        before = parent.slot_when(SlotState.RUNNING).pid
        assert before is not None

        os.kill(before, signal.SIGKILL)

        alerts = parent.folder / "alerts"
        told = "worker.exited\nnotifier.exited\n"  # each waits a moment for others of its kind
        wait_until(lambda: alerts.exists() and alerts.read_text() == told, 40)
        assert len(parent.events("notifier.exited")) == 1


def test_problems_of_plugins_refuse_the_start_with_all_of_them(tmp_path: Path) -> None:
    parent = Parent(tmp_path, problems=["groups.orders: no module named 'shop'", "notifier: no such plugin"])
    parent.start()

    assert parent.exit_code() == 78
    errors = parent.errors.read_text()
    assert "2 problems with plugins, handlers or Kafka settings" in errors
    assert "no module named 'shop'" in errors
    assert "no such plugin" in errors
    assert not parent.log()
