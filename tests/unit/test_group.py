from dataclasses import replace

import pytest

from supervisor.core.exits import ExitCode
from supervisor.core.group_rules import Phase
from supervisor.core.slot import Exited, Policy, Ready, Spawned, Start, Stop, Tick
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import Mode
from tests.unit.troop import Troop


def half_open(slots: int = 4, policy: Policy | None = None) -> Troop:
    troop = Troop(slots, policy).start()
    troop.fail_as_a_whole()
    return troop


def canary(troop: Troop) -> int:
    assert troop.group.canary is not None
    return troop.group.canary


def recovering(slots: int) -> Troop:
    """Return a group in which only the canary runs, healthy but for a second."""
    troop = half_open(slots)
    troop.crash(*troop.slots)
    only = canary(troop)
    while only not in troop.live():
        troop.wait(1)
    troop.happen(only, Ready())
    troop.wait(9)
    assert troop.live() == [only]
    return troop


def test_a_group_that_fails_as_a_whole_is_half_open_and_told_once() -> None:
    troop = half_open(4)
    for _ in range(5):
        troop.crash(*troop.slots)
        troop.wait(30)

    assert troop.told.count("group.half_open") == 1
    assert troop.texts[0].startswith("6 failures in 1m of 4 of 4 slots; slot ")
    assert troop.condition().startswith("half-open: the others wait until slot ")


def test_as_many_failures_as_slots_are_no_failure_of_the_group() -> None:
    troop = Troop(8).start()

    troop.crash(*troop.slots)
    troop.wait(1, ready=True)

    assert troop.phase() is Phase.WHOLE
    assert len(troop.live()) == 8


def test_one_slot_that_dies_again_and_again_does_not_hold_the_others() -> None:
    troop = Troop(3).start()

    for _ in range(120):
        troop.crash(0)
        troop.wait(1, ready=True)

    assert "group.half_open" not in troop.told
    troop.crash(1)
    assert 1 in troop.live()


def test_most_slots_down_for_long_are_a_failure_of_the_group_however_slowly_they_die() -> None:
    troop = Troop(4).start()

    for _ in range(12):
        troop.crash(*troop.slots)
        if troop.phase() is Phase.HALF_OPEN:
            break
        troop.now += 100.0  # further apart than the window
        troop.wait(1, ready=True)

    assert troop.texts[0].startswith("3 of 4 slots are down; slot ")


def test_only_the_canary_starts_and_by_its_own_backoff() -> None:
    troop = half_open(6)
    troop.crash(*troop.slots)
    troop.spawns.clear()
    first = canary(troop)

    for _ in range(600):
        troop.wait(1)
        troop.crash(first)

    assert {number for number, _ in troop.spawns} == {first}
    assert 8 <= len(troop.spawns) <= 6 + 600 / 60 + 2


def test_the_others_wait_and_leave_the_group_meanwhile() -> None:
    troop = half_open(4, Policy())
    troop.crash(*troop.slots)
    troop.wait(3)

    waiting = [number for number in troop.slots if number != canary(troop)]
    assert {number for number, mode in troop.spawns if mode is Mode.LEAVE} >= set(waiting)
    assert all(troop.slots[number].state is SlotState.BACKOFF for number in waiting)
    assert not any(troop.slots[number].member for number in waiting)


def test_when_the_canary_is_healthy_for_a_while_the_others_follow_as_many_as_run() -> None:
    troop = recovering(8)
    troop.spawns.clear()

    started = []
    for _ in range(6):
        before = len(troop.spawns)
        troop.wait(1, ready=True)
        started.append(len(troop.spawns) - before)

    assert [count for count in started if count] == [1, 2, 4]
    assert troop.told[-1] != "group.half_open"
    assert troop.told.count("group.recovered") == 1
    assert troop.phase() is Phase.WHOLE
    assert len(troop.live()) == 8
    assert not any(slot.parked for slot in troop.slots.values())


def test_a_canary_that_is_not_healthy_lets_nobody_follow() -> None:
    troop = half_open(4)
    troop.crash(*troop.slots)
    troop.wait(100)
    troop.happen(canary(troop), Ready())

    for _ in range(100):
        troop.now += 1
        for number in troop.slots:
            troop.happen(number, Tick(healthy=False))

    assert troop.live() == [canary(troop)]


def test_a_ramp_that_fails_as_a_whole_goes_back_without_a_second_event() -> None:
    troop = recovering(8)
    troop.wait(2, ready=True)
    assert troop.phase() is Phase.RAMPING

    for _ in range(20):
        troop.crash(*troop.slots)
        troop.wait(1, ready=True)
        if troop.phase() is Phase.HALF_OPEN:
            break

    assert troop.phase() is Phase.HALF_OPEN
    assert troop.told.count("group.half_open") == 1
    assert "group.recovered" not in troop.told


def test_one_slot_that_still_dies_does_not_stop_the_ramp() -> None:
    troop = recovering(4)
    bad = next(number for number in troop.slots if number != canary(troop))

    for _ in range(60):
        troop.wait(1, ready=True)
        troop.crash(bad)

    assert troop.phase() is Phase.WHOLE
    assert troop.told.count("group.recovered") == 1


def test_a_canary_that_an_operator_stops_is_followed_by_another() -> None:
    troop = half_open(3)
    troop.crash(*troop.slots)
    first = canary(troop)

    troop.happen(first, Stop())
    troop.wait(60)

    assert canary(troop) != first
    assert troop.live() == [canary(troop)]


def test_a_slot_an_operator_starts_is_tried_and_waits_when_it_fails() -> None:
    troop = half_open(4)
    troop.crash(*troop.slots)
    other = next(number for number in troop.slots if number != canary(troop))

    troop.happen(other, Start(), Spawned(1))
    assert other in troop.live()
    troop.crash(other)
    troop.wait(1)

    assert other not in troop.live()


def test_a_group_whose_slots_were_all_stopped_is_not_half_open() -> None:
    troop = half_open(3)

    for number in troop.slots:
        troop.happen(number, Stop(), Exited(0))

    assert troop.phase() is Phase.WHOLE
    assert troop.condition() == ""
    troop.start()
    assert len(troop.live()) == 3


def test_most_slots_healthy_end_it_whatever_becomes_of_the_canary() -> None:
    troop = half_open(3)
    others = [number for number in troop.slots if number != canary(troop)]
    for number in others:
        troop.happen(number, Start(), Spawned(1), Ready())

    for _ in range(15):
        troop.wait(1)
        troop.crash(canary(troop)) if troop.group.canary is not None else None
        for number in others:
            troop.happen(number, Ready())

    assert "group.recovered" in troop.told


def test_no_number_of_failures_is_half_open_where_that_is_switched_off() -> None:
    troop = Troop(4, Policy(is_static=False, group_failures=0)).start()

    for _ in range(100):
        troop.crash(*troop.slots)
        troop.wait(1, ready=True)

    assert troop.told.count("group.half_open") == 0


def test_slots_that_are_fenced_are_not_down() -> None:
    troop = Troop(3).start()

    troop.crash(*troop.slots, status=ExitCode.FENCED)
    troop.look()

    assert troop.phase() is Phase.WHOLE


@pytest.mark.parametrize("slots", [1, 2, 3, 16])
def test_five_starts_in_a_row_of_which_none_became_ready_give_the_group_up(slots: int) -> None:
    troop = Troop(slots)
    for number in troop.slots:
        troop.happen(number, Start())
    exits = 0
    while troop.slots[0].wanted:
        troop.arrive()
        for number in troop.live():
            if troop.slots[number].wanted:
                exits += 1
                troop.happen(number, Exited(1, "(no module named shop)"))
        troop.wait(1)
    troop.wait(30)

    assert exits == 5
    assert [name for name in troop.told if name.endswith("fatal")] == ["group.fatal"]
    assert troop.texts == ["not ready in 5 starts; the last one: exit code 1 (no module named shop)"]
    for number in troop.live():
        troop.happen(number, Exited(-15))
    assert set(troop.states()) == {SlotState.FATAL}


def test_a_group_of_which_one_worker_was_ready_once_is_never_given_up() -> None:
    troop = Troop(3)
    for number in troop.slots:
        troop.happen(number, Start(), Spawned(1))
    troop.happen(0, Ready(), Exited(1))

    for _ in range(600):
        troop.crash(*troop.slots, status=1)
        troop.wait(1)

    assert "group.fatal" not in troop.told
    assert SlotState.FATAL not in troop.states()


def test_a_config_exit_gives_up_all_that_wait_or_start_and_spares_who_is_ready() -> None:
    troop = Troop(4).start()
    troop.crash(1)
    troop.happen(1, Ready())
    troop.crash(1)
    troop.crash(2)

    troop.crash(3)
    troop.crash(3, status=ExitCode.CONFIG)
    troop.happen(2, Exited(-15))

    assert troop.states() == [SlotState.RUNNING, SlotState.FATAL, SlotState.FATAL, SlotState.FATAL]
    assert [name for name in troop.told if name.endswith("fatal")] == ["group.fatal"]
    reasons = {troop.slots[number].reason for number in (1, 2, 3)}
    assert reasons == {"wrong configuration: exit code 78 (config)"}


def test_a_start_of_a_group_that_was_given_up_gives_it_a_clean_record() -> None:
    troop = Troop(3)
    troop.happen(0, Start(), Spawned(1), Exited(ExitCode.CONFIG))

    for number in troop.slots:
        troop.happen(number, Start(), Spawned(1))
    troop.crash(*troop.slots, status=1)
    troop.wait(3)

    assert troop.told.count("group.fatal") == 1
    assert SlotState.FATAL not in troop.states()

    troop.crash(1, status=ExitCode.CONFIG)
    assert troop.told.count("group.fatal") == 2


def test_a_given_up_static_member_leaves_the_group() -> None:
    troop = Troop(2, Policy()).start()
    troop.crash(1)
    troop.happen(1, Ready())
    troop.crash(1)
    assert troop.slots[1].state is SlotState.BACKOFF

    troop.crash(0)
    troop.crash(0, status=ExitCode.CONFIG)
    troop.wait(2)

    assert (1, Mode.LEAVE) in troop.spawns
    assert (0, Mode.LEAVE) in troop.spawns
    assert troop.states() == [SlotState.FATAL] * 2


def test_slots_that_come_and_go_do_not_confuse_the_rules() -> None:
    troop = half_open(4)
    for number in (0, 1, 2, 3):
        gone = dict(troop.slots)
        del gone[number]
        troop.slots = gone or {9: replace(troop.slots[number])}
        troop.look()
        troop.wait(1)

    assert troop.group.canary in (9, None)
