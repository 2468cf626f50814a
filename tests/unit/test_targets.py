import pytest

from supervisor.control.targets import UnknownTargetError, resolve

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
