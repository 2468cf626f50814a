"""Which slots are paused: the last word counts, for what it names."""

import pytest

from supervisor.core.paused import Paused


def shown(paused: Paused, group: str = "orders") -> list[bool]:
    return [paused.holds(group, slot) for slot in range(3)]


def test_one_slot_is_paused_and_goes_on_alone() -> None:
    one = Paused().of_slot("orders", 1, on=True)

    assert shown(one) == [False, True, False]
    assert shown(one, "bills") == [False, False, False]
    assert one.of_slot("orders", 1, on=False) == Paused()


def test_one_slot_of_a_paused_group_goes_on_and_the_others_stay_paused() -> None:
    group = Paused().of_group("orders", on=True)

    one = group.of_slot("orders", 1, on=False)

    assert shown(group) == [True, True, True]
    assert shown(one) == [True, False, True]
    assert one.holds("orders", 99), "slots that come later are as the group is"
    assert one.of_slot("orders", 1, on=True) == group


@pytest.mark.parametrize("on", [True, False])
def test_a_word_of_the_group_takes_back_what_was_said_of_single_slots(on: bool) -> None:
    mixed = Paused().of_group("orders", on=not on).of_slot("orders", 1, on=on).of_slot("bills", 0, on=True)

    after = mixed.of_group("orders", on=on)

    assert shown(after) == [on, on, on]
    assert after.of_slot("bills", 0, on=False) == Paused().of_group("orders", on=on)


@pytest.mark.parametrize("on", [True, False])
def test_a_word_that_changes_nothing_is_no_word(on: bool) -> None:
    group = Paused().of_group("orders", on=on)

    assert group.of_slot("orders", 1, on=on) is group
    assert shown(group.of_slot("orders", 1, on=on).of_group("orders", on=not on)) == [not on] * 3


def test_a_slot_that_was_scaled_away_leaves_nothing_to_the_next_of_its_number() -> None:
    assert Paused().of_slot("orders", 1, on=True).without("orders", 1) == Paused()
    group = Paused().of_group("orders", on=True)
    assert group.of_slot("orders", 1, on=False).without("orders", 1) == group


def test_groups_that_are_gone_are_forgotten() -> None:
    both = Paused().of_group("orders", on=True).of_slot("bills", 0, on=True).of_slot("orders", 0, on=False)

    assert both.keep({"bills"}) == Paused().of_slot("bills", 0, on=True)
    assert both.keep(()) == Paused()
