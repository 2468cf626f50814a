import pytest

from supervisor.control.targets import UnknownTargetError, check_scope, resolve

GROUPS = {"orders": 2, "bills": 1, "a/b": 1}


def test_nothing_means_every_slot() -> None:
    assert resolve(None, GROUPS) == (("orders", 0), ("orders", 1), ("bills", 0), ("a/b", 0))


def test_a_group_means_its_slots() -> None:
    assert resolve("orders", GROUPS) == (("orders", 0), ("orders", 1))


def test_a_slot_is_a_group_and_a_number() -> None:
    assert resolve("orders/1", GROUPS) == (("orders", 1),)
    assert resolve("a/b", GROUPS) == (("a/b", 0),)
    assert resolve("a/b/0", GROUPS) == (("a/b", 0),)


@pytest.mark.parametrize(
    ("target", "text", "help_"),
    [
        ("order", "no group is called 'order'", "did you mean 'orders'? groups: orders, bills, a/b"),
        ("orders/2", "group 'orders' has no slot '2'", "its slots are orders/0 to orders/1"),
        ("bills/x", "group 'bills' has no slot 'x'", "its only slot is bills/0"),
        ("orders/-1", "group 'orders' has no slot '-1'", "its slots are orders/0 to orders/1"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(target: str, text: str, help_: str) -> None:
    with pytest.raises(UnknownTargetError, match=text) as caught:
        resolve(target, GROUPS)

    assert caught.value.help == help_


@pytest.mark.parametrize(("group", "slot"), [("", None), ("orders", None), ("orders", 1), ("a/b", 0), ("", 1)])
def test_a_group_and_a_slot_written_apart_are_what_there_is(group: str, slot: int | None) -> None:
    check_scope(group, slot, GROUPS)


@pytest.mark.parametrize(
    ("group", "slot", "text", "help_"),
    [
        ("order", None, "no group is called 'order'", "did you mean 'orders'? groups: orders, bills, a/b"),
        ("orders/0", None, "'orders/0' is a slot, not a group", "write --group orders --slot 0"),
        ("a/b/0", 0, "'a/b/0' is a slot, not a group", "write --group a/b --slot 0"),
        ("orders/9", None, "group 'orders' has no slot '9'", "its slots are orders/0 to orders/1"),
        ("orders", 2, "group 'orders' has no slot 2", "slots: 0 to 1"),
        ("bills", 1, "group 'bills' has no slot 1", "slots: 0"),
        ("", 2, "no group has a slot 2", "slots: 0 to 1"),
    ],
)
def test_a_group_and_a_slot_written_apart_of_which_nothing_is_are_answered_with_what_there_is(
    group: str, slot: int | None, text: str, help_: str
) -> None:
    with pytest.raises(UnknownTargetError, match=text) as caught:
        check_scope(group, slot, GROUPS)

    assert caught.value.help == help_


def test_a_slot_where_there_is_no_group_is_refused() -> None:
    with pytest.raises(UnknownTargetError, match="no group has a slot 0") as caught:
        check_scope("", 0, {})

    assert caught.value.help == "slots: none"
