from hypothesis import given

from supervisor.core.duty import overdue, owed_to_slot
from supervisor.core.slot import Policy, SlotEvent, Tick
from tests.properties.test_slot import World, lives, policies


@given(policies, lives)
def test_a_slot_whose_deadlines_are_acted_on_is_never_owed_anything_old(
    policy: Policy, life: list[tuple[SlotEvent | str | float, float]]
) -> None:
    """Else the watchdog would be withheld from a parent that does its duty, and systemd would kill it."""
    world = World(policy)
    for what, chance in life:
        world.live_through(what, chance)
        world.feed(Tick(), chance)

        assert overdue(owed_to_slot("orders/0", world.slot, next_look=world.now), now=world.now, patience=0.0) == ()
