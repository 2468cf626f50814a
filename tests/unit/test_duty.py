from supervisor.core.duty import Owed, overdue, owed_to_slot
from supervisor.core.slot import Slot
from supervisor.core.snapshot import SlotState


def test_a_look_and_a_deadline_are_owed() -> None:
    slot = Slot(state=SlotState.BACKOFF, deadline=7.0)

    assert [(one.whom, one.due) for one in owed_to_slot("orders/1", slot, next_look=5.0)] == [
        ("orders/1", 5.0),
        ("orders/1", 7.0),
    ]


def test_a_slot_without_a_deadline_is_owed_its_look_only() -> None:
    for state in (SlotState.RUNNING, SlotState.FATAL, SlotState.STOPPED):
        assert [one.due for one in owed_to_slot("orders/1", Slot(state=state), next_look=5.0)] == [5.0]


def test_what_is_less_late_than_patience_is_not_overdue() -> None:
    owed = [Owed("orders/1", "a look at it", 5.0)]

    assert overdue(owed, now=15.0, patience=10.0) == ()
    assert overdue(owed, now=15.1, patience=10.0) == tuple(owed)


def test_the_oldest_debt_is_named_first() -> None:
    old, older, fresh = Owed("a/0", "x", 2.0), Owed("b/0", "y", 1.0), Owed("c/0", "z", 99.0)

    assert overdue([old, fresh, older], now=100.0, patience=10.0) == (older, old)
