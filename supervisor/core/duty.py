"""What the parent owes, and whether it is late with it. Pure.

systemd's watchdog is fed only while nothing is overdue. Owed is what the parent alone can do: look at every
slot, act on a slot's deadline, look for dead children. What others fail to do (a broker, a worker, a whole group)
is never owed, so that an outage cannot make systemd restart the host's other groups.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from supervisor.core.slot import Slot

PATIENCE = 10.0
"""Seconds an action may be late. A busy machine delays a loop by tenths; ten seconds are a fault."""


@dataclass(frozen=True, slots=True)
class Owed:
    """One action of the parent's: ``what`` it does for ``whom``, and when it is due (monotonic seconds)."""

    whom: str
    what: str
    due: float


def owed_to_slot(name: str, slot: Slot, *, next_look: float) -> Iterator[Owed]:
    """Yield what the parent owes a slot.

    Every step of ``core.slot_rules`` that meets a passed deadline clears it or sets a later one. One that still
    stands in the past was not acted on.
    """
    yield Owed(name, "a look at it", next_look)
    if slot.deadline is not None:
        yield Owed(name, f"what its deadline in state {slot.state.value} asks for", slot.deadline)


def overdue(owed: Iterable[Owed], *, now: float, patience: float = PATIENCE) -> tuple[Owed, ...]:
    """Return what is more than ``patience`` seconds late, the oldest first."""
    return tuple(sorted((one for one in owed if now - one.due > patience), key=lambda one: one.due))
