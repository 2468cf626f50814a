"""One look of the group's rules at slots as they stand, right at the borders of every number."""

from dataclasses import replace
from typing import Any

import pytest

from supervisor.core.exits import ExitClass
from supervisor.core.group_rules import Ask, Group, GroupStep, Phase, look
from supervisor.core.slot import Park, Policy, Process, Release, Report, Slot
from supervisor.core.snapshot import SlotState

NOW = 10_000.0
POLICY = Policy(group_failures=5, group_window=60.0, canary_healthy=10.0, failover_after=5.0)
WELL = Slot(
    SlotState.RUNNING, Process.LIVE, wanted=True, ready=True, ever_ready=True, healthy_since=NOW - 3600.0, incarnation=1
)
WAITING = replace(WELL, state=SlotState.BACKOFF, process=Process.NONE, ready=False, healthy_since=None, parked=True)
DOWN = replace(WAITING, parked=False, last_delay=5.1)


def failed(*ago: float, **more: Any) -> Slot:
    return replace(WELL, failed_at=tuple(NOW - one for one in sorted(ago, reverse=True)), **more)


def looked(group: Group, *slots: Slot) -> GroupStep:
    return look(POLICY, group, dict(enumerate(slots)), now=NOW)


def released(step: GroupStep) -> list[int]:
    return [one.slot for one in step[1] if isinstance(one, Ask) and isinstance(one.demand, Release)]


def parked(step: GroupStep) -> list[int]:
    return [one.slot for one in step[1] if isinstance(one, Ask) and isinstance(one.demand, Park)]


def told(step: GroupStep) -> list[str]:
    return [one.name for one in step[1] if isinstance(one, Report)]


class TestWhole:
    @pytest.mark.parametrize(
        ("slots", "text"),
        [
            ([failed(1, 2, 3, 4, 5)], ""),
            ([failed(1, 2, 3, 4, 5, 6)], "6 failures in 1m of 1 of 1 slots"),
            ([failed(1, 2, 3, 4, 5, 60.0)], ""),
            ([failed(1, 2, 3, 4, 5, 59.9)], "6 failures in 1m of 1 of 1 slots"),
            ([failed(1, 2, 3), failed(1, 2, 3), WELL, WELL], ""),
            ([failed(1, 2, 3), failed(1, 2), failed(1), WELL], "6 failures in 1m of 3 of 4 slots"),
            ([failed(1)] * 7, ""),
            ([failed(1)] * 6 + [failed(1, 2)], "8 failures in 1m of 7 of 7 slots"),
        ],
    )
    def test_more_failures_than_allowed_and_than_slots_of_more_than_half_of_them_count(
        self, slots: list[Slot], text: str
    ) -> None:
        group, effects = looked(Group(), *slots)

        assert (group.phase is Phase.HALF_OPEN) is bool(text)
        assert [one.text for one in effects if isinstance(one, Report)] == (
            [f"{text}; slot 0 is tried first"] * bool(text)
        )

    def test_failures_up_to_the_groups_last_change_count_no_more(self) -> None:
        slot = failed(1, 2, 3, 4, 5, 6)

        assert looked(Group(since=NOW - 6), slot)[0].phase is Phase.WHOLE
        assert looked(Group(since=NOW - 6.1), slot)[0].phase is Phase.HALF_OPEN

    @pytest.mark.parametrize(
        ("slots", "is_failing"),
        [
            ([DOWN], False),
            ([DOWN, WELL], False),
            ([DOWN, DOWN, WELL], True),
            ([DOWN, DOWN], True),
            ([DOWN, replace(DOWN, last_delay=5.0)], False),
            ([DOWN, replace(DOWN, last_exit=ExitClass.FENCED)], False),
            ([DOWN, replace(DOWN, state=SlotState.LEAVING, process=Process.LIVE)], False),
            ([DOWN, replace(DOWN, state=SlotState.LEAVING, process=Process.LIVE, after=SlotState.BACKOFF)], True),
        ],
    )
    def test_more_than_half_of_several_slots_down_for_long_are_a_failure_of_the_group(
        self, slots: list[Slot], is_failing: bool
    ) -> None:
        group, _ = looked(Group(), *slots)

        assert (group.phase is Phase.HALF_OPEN) is is_failing


class TestCanary:
    def test_it_is_the_one_of_those_that_wait_that_starts_first(self) -> None:
        slots = (
            replace(DOWN, start_at=NOW + 3, failed_at=(NOW,)),
            replace(DOWN, start_at=NOW + 1),
            replace(DOWN, start_at=NOW + 2),
            replace(WELL, start_at=NOW - 9, failed_at=(NOW,)),
        )

        step = looked(Group(), *slots)

        assert step[0].canary == 1
        assert parked(step) == [0, 2, 3]

    def test_of_those_that_start_at_once_it_is_the_lowest(self) -> None:
        assert looked(Group(), *[replace(DOWN, start_at=NOW)] * 3)[0].canary == 0

    def test_where_none_waits_it_is_the_one_that_failed_last_and_of_several_the_lowest(self) -> None:
        slots = [failed(6, 4), failed(5, 3), failed(5, 3), failed(9, 8)]

        assert looked(Group(), *slots)[0].canary == 1

    def test_who_waited_for_another_canary_is_freed(self) -> None:
        step = looked(Group(Phase.HALF_OPEN, canary=7, since=NOW - 50), replace(WAITING, start_at=2.0), WAITING)

        assert step[0] == Group(Phase.HALF_OPEN, canary=1, since=NOW)
        assert released(step) == [1]


class TestHealth:
    @pytest.mark.parametrize(
        ("since", "healthy_since", "is_enough"),
        [
            (10.0, 3600.0, True),
            (9.9, 3600.0, False),
            (100.0, 10.0, True),
            (100.0, 9.9, False),
        ],
    )
    def test_a_canary_is_healthy_for_as_long_as_the_group_is_tried_and_it_is_well(
        self, since: float, healthy_since: float, is_enough: bool
    ) -> None:
        tried = Group(Phase.HALF_OPEN, canary=0, since=NOW - since)

        group, _ = looked(tried, replace(WELL, healthy_since=NOW - healthy_since), *[WAITING] * 4)

        assert group.phase is (Phase.RAMPING if is_enough else Phase.HALF_OPEN)

    @pytest.mark.parametrize(("well", "is_enough"), [(2, False), (3, True)])
    def test_more_than_half_healthy_do_without_the_canary(self, well: int, is_enough: bool) -> None:
        tried = Group(Phase.HALF_OPEN, canary=0, since=NOW - 100)

        group, _ = looked(tried, DOWN, *[WELL] * well, *[WAITING] * (3 - well))

        assert (group.phase is not Phase.HALF_OPEN) is is_enough


class TestRamp:
    group = Group(Phase.RAMPING, canary=0, since=NOW - 20)

    @pytest.mark.parametrize(("running", "follow"), [(1, [1]), (2, [2, 3])])
    def test_as_many_follow_as_run(self, running: int, follow: list[int]) -> None:
        step = looked(self.group, *[WELL] * running, *[WAITING] * 4)

        assert released(step) == follow
        assert told(step) == []
        assert step[0] == self.group

    def test_one_follows_where_none_runs(self) -> None:
        assert released(looked(self.group, replace(WELL, state=SlotState.DRAINING), *[WAITING] * 4)) == [1]

    @pytest.mark.parametrize(
        ("newest", "follow"),
        [
            (replace(WELL, healthy_since=NOW - 0.9), []),
            (replace(WELL, healthy_since=NOW - 1.0), [2, 3]),
            (replace(WELL, state=SlotState.STARTING, healthy_since=None), []),
        ],
    )
    def test_nobody_follows_before_those_that_came_last_have_run_for_a_second(
        self, newest: Slot, follow: list[int]
    ) -> None:
        assert released(looked(self.group, WELL, newest, *[WAITING] * 4)) == follow

    def test_who_runs_though_it_was_told_to_wait_is_freed_whoever_is_new(self) -> None:
        newest = replace(WELL, healthy_since=NOW)

        step = looked(self.group, WELL, newest, replace(WELL, parked=True), WAITING)

        assert released(step) == [2]
        assert step[0] == self.group

    def test_with_the_last_of_them_the_group_has_recovered(self) -> None:
        group, effects = looked(self.group, WELL, WELL, WAITING, WAITING)

        assert group == Group(since=NOW)
        assert effects[:2] == (Ask(2, Release()), Ask(3, Release()))
        assert told((group, effects)) == ["group.recovered"]

    @pytest.mark.parametrize(
        ("slots", "goes_back"),
        [
            ([failed(1), WELL], False),
            ([failed(1), failed(1), WELL], True),
            ([failed(20.0), failed(20.0), WELL], False),
            ([failed(1), WELL, replace(WAITING, failed_at=(NOW - 1,))], False),
        ],
    )
    def test_it_goes_back_when_more_than_half_of_those_that_were_let_go_have_failed_since(
        self, slots: list[Slot], goes_back: bool
    ) -> None:
        step = looked(self.group, *slots, *[WAITING] * 5)

        assert (step[0].phase is Phase.HALF_OPEN) is goes_back
        assert told(step) == []
