"""Flapping, and what a group asks of its slots."""

import pytest

from supervisor.core.events import Severity
from supervisor.core.exits import ExitClass, ExitCode
from supervisor.core.slot import (
    CancelSpawn,
    Exited,
    GiveUp,
    Park,
    Policy,
    Process,
    Ready,
    Release,
    Report,
    Restart,
    Rung,
    Slot,
    Spawn,
    Spawned,
    Start,
    Stood,
    Stop,
    Tick,
)
from supervisor.core.slot_rules import step
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import Mode
from tests.unit.test_slot import SIGKILL, Life, reports, running, signals, spawns

DYNAMIC = Policy(is_static=False)


def failing(times: int, *, every: float, policy: Policy = DYNAMIC) -> tuple[Life, list[str]]:
    """Let a slot die ``times`` times, ``every`` seconds apart; return it and what was reported."""
    life, told = running(policy), []
    for _ in range(times):
        life.now += every
        told += reports(life.happen(Exited(SIGKILL)))
        life.now = max(life.now, life.slot.start_at)
        life.happen(Tick(), Ready())
    return life, told


def test_five_failures_in_five_minutes_are_flapping_and_told_once() -> None:
    assert failing(4, every=10.0)[1].count("worker.flapping") == 0
    assert failing(5, every=10.0)[1].count("worker.flapping") == 1
    assert failing(12, every=10.0)[1].count("worker.flapping") == 1


def test_failures_that_are_far_apart_are_no_flapping() -> None:
    assert failing(12, every=80.0)[1].count("worker.flapping") == 0


def test_the_end_of_flapping_is_told_when_the_failures_are_forgotten() -> None:
    life, _ = failing(6, every=1.0)

    assert reports(life.wait(max(60.0, 2 * life.slot.last_delay) - 1)) == []
    assert reports(life.wait(1)) == ["worker.steady"]
    assert reports(life.wait(1000)) == []
    assert not life.slot.flapping


def test_a_new_episode_is_told_anew() -> None:
    life, _ = failing(6, every=1.0)
    life.wait(130)
    told = []

    for _ in range(5):
        told += reports(life.happen(Exited(SIGKILL)))
        life.now = max(life.now, life.slot.start_at)
        life.happen(Tick(), Ready())

    assert told.count("worker.flapping") == 1


def test_stops_restarts_and_recycles_never_count_as_failures() -> None:
    life = running(DYNAMIC)
    told: list[str] = []

    for _ in range(10):
        told += reports(life.happen(Restart(), Exited(0), Ready(), Exited(ExitCode.RECYCLE), Ready()))
        told += reports(life.happen(Stop(), Exited(0), Start(), Ready()))

    assert life.slot.failed_at == ()
    assert "worker.flapping" not in told


def test_the_class_of_the_last_exit_is_remembered() -> None:
    life = running(DYNAMIC)

    life.happen(Exited(SIGKILL))

    assert life.slot.last_exit is ExitClass.SIGNAL


def test_a_parked_slot_that_waits_starts_only_when_released() -> None:
    life = running(DYNAMIC)
    life.crash()
    life.crash()
    assert life.state() is SlotState.BACKOFF

    effects = life.happen(Park()) + sum((life.wait(30) for _ in range(20)), ())
    assert spawns(effects) == []
    assert life.slot.deadline is not None

    assert spawns(life.happen(Release())) == [Spawn(3, Mode.WORK)]


def test_a_parked_slot_that_is_released_early_still_waits_its_own_time() -> None:
    life = running(DYNAMIC)
    life.crash()
    life.crash()

    assert spawns(life.happen(Park(), Release())) == []
    assert spawns(life.wait(1.0)) == [Spawn(3, Mode.WORK)]


def test_a_parked_workers_first_failure_is_not_followed_by_a_start_at_once() -> None:
    life = running(DYNAMIC)

    effects = life.happen(Park(), Exited(SIGKILL))

    assert spawns(effects) == []
    assert life.state() is SlotState.BACKOFF
    assert next(e.text for e in effects if isinstance(e, Report)) == "SIGKILL; waits for its group's canary"


def test_a_parked_slot_leaves_the_group_though_its_own_wait_is_short() -> None:
    life = running()
    life.crash()
    life.crash()
    assert life.state() is SlotState.BACKOFF

    assert spawns(life.happen(Park())) == [Spawn(3, Mode.LEAVE)]
    assert spawns(life.happen(Exited(0)) + life.wait(600)) == []
    assert life.state() is SlotState.BACKOFF
    assert spawns(life.happen(Release())) == [Spawn(4, Mode.WORK)]


def test_a_process_that_was_asked_for_is_called_off_by_a_park() -> None:
    slot, _ = step(DYNAMIC, Slot(), Start(), now=0.0, chance=0.0)

    slot, effects = step(DYNAMIC, slot, Park(), now=0.0, chance=0.0)

    assert effects == (CancelSpawn(),)
    assert (slot.state, slot.process) == (SlotState.BACKOFF, Process.NONE)


def test_an_operators_start_outranks_the_wait_for_the_canary() -> None:
    life = running(DYNAMIC)
    life.happen(Park(), Exited(SIGKILL))

    assert spawns(life.happen(Start())) == [Spawn(2, Mode.WORK)]


def test_a_slot_that_is_given_up_while_it_waits_leaves_and_is_fatal() -> None:
    life = running()
    life.crash()
    life.crash()

    effects = life.happen(GiveUp("wrong configuration: x")) + life.happen(Exited(0))

    assert [spawn.mode for spawn in spawns(effects)] == [Mode.LEAVE]
    assert life.state() is SlotState.FATAL
    assert life.slot.reason == "wrong configuration: x"
    assert "slot.fatal" not in reports(effects)


def test_a_slot_that_is_given_up_while_it_leaves_is_fatal_when_it_has_left() -> None:
    life = running()
    life.crash()
    life.crash()
    life.happen(Park())
    assert life.state() is SlotState.LEAVING

    life.happen(GiveUp("x"), Exited(0))

    assert life.state() is SlotState.FATAL
    assert not life.slot.wanted


def test_a_worker_that_starts_is_ended_when_its_group_is_given_up() -> None:
    life = Life()
    life.happen(Start())

    life.happen(GiveUp("x"))
    assert life.state() is SlotState.DRAINING
    assert signals(life.wait(5.0)) == [Rung.TERM]
    life.happen(Ready(), Exited(-15), Exited(0))  # ready too late, and a member that leaves

    assert life.state() is SlotState.FATAL
    assert life.slot.reason == "x"


def test_a_worker_that_is_ready_goes_on_though_its_group_is_given_up() -> None:
    life = running()

    assert life.happen(GiveUp("x")) == ()
    assert life.state() is SlotState.RUNNING
    assert life.slot.wanted


def test_a_stopped_slot_stays_stopped_when_its_group_is_given_up() -> None:
    life = running()
    life.happen(Stop(), Exited(0))

    life.happen(GiveUp("x"))

    assert life.state() is SlotState.STOPPED


def test_a_stop_of_a_doomed_worker_is_a_stop() -> None:
    life = Life()
    life.happen(Start(), GiveUp("x"), Stop(), Exited(0))

    assert life.state() is SlotState.STOPPED


def test_a_start_of_a_doomed_worker_is_a_start() -> None:
    life = Life()
    life.happen(Start(), GiveUp("x"), Start(), Exited(0))

    assert life.state() is SlotState.STARTING


def test_time_in_which_the_parent_stood_still_counts_for_nobody() -> None:
    life = Life()
    life.happen(Start())
    life.now += 600.0

    assert signals(life.happen(Stood(600.0), Tick())) == []
    assert signals(life.wait(60.0)) == [Rung.TERM]


def test_health_that_nobody_saw_does_not_count() -> None:
    life = running(DYNAMIC)
    life.crash()
    life.happen(Ready())
    life.now += 600.0

    life.happen(Stood(600.0), Tick())

    assert life.slot.failures == 1


@pytest.mark.parametrize("status", [0, 1, 3])
def test_an_exit_that_nobody_asked_for_is_a_failure_whatever_its_code(status: int) -> None:
    life = running(DYNAMIC)
    told: list[Report] = []
    for _ in range(5):
        told += [e for e in life.happen(Exited(status)) if isinstance(e, Report)]
        life.now = max(life.now, life.slot.start_at)
        life.happen(Tick(), Ready())

    flapping = [report for report in told if report.name == "worker.flapping"]
    assert [report.severity for report in flapping] == [Severity.WARNING]
    assert flapping[0].text == f"5 failures in 5m; the last one: exit code {status}" + (" (ok)" if status == 0 else "")


def test_a_spawned_process_that_was_called_off_is_none_of_the_slots() -> None:
    slot, _ = step(DYNAMIC, Slot(), Start(), now=0.0, chance=0.0)
    slot, _ = step(DYNAMIC, slot, Park(), now=0.0, chance=0.0)

    assert step(DYNAMIC, slot, Spawned(1), now=0.0, chance=0.0) == (slot, ())
