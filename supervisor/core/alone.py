"""Records that are worked with nothing beside them, because they may end their process: when one may begin. Pure."""

from typing import Generic, Protocol, TypeVar

from supervisor.core.lane import Lane

T = TypeVar("T")

COMMIT_PATIENCE = 1.0
"""Seconds that such a record waits at most until all that is settled is committed: no broker may answer.

Nothing depends on it but how much is repeated.
"""


class Gate(Protocol[T]):
    """Knows which records must be worked alone. Asked only while ``Lanes.closed`` says that there are some."""

    def needs_alone(self, lane: Lane[T]) -> bool:
        """Tell whether nothing may be worked beside the head of a lane."""

    def is_committed(self) -> bool:
        """Tell whether all that is settled is committed; where it is not, see to it, and to ``Alone.release``."""

    def is_over(self) -> bool:
        """Tell whether no such record is left."""


class Alone(Generic[T]):
    """The turns of one worker's records that are worked alone; ``busy`` is how many lanes are in threads' hands."""

    def __init__(self) -> None:
        self.gate: Gate[T] | None = None
        self.until: float | None = None
        """When the record that is next to be worked alone begins, whatever is committed by then."""
        self.is_held = False
        """Whether it waits for nothing but that."""
        self._has_turn = False
        """Whether what was handed out last is to be worked with nothing beside it."""

    def bars(self, busy: int) -> bool:
        """Tell whether nothing may be handed out now, whatever comes."""
        return self._has_turn and busy > 0

    def is_over(self, busy: int) -> bool:
        """Tell whether nobody is left, so that all may be handed out again."""
        if self.gate is not None and (not self.gate.is_over() or self.bars(busy)):
            return False
        self._has_turn = False
        self.forget()
        return True

    def may_begin(self, lane: Lane[T], *, busy: int, now: float) -> bool:
        """Tell whether the lane that is next may be handed out.

        Whoever must be worked alone waits, at the head of the line, until nothing is in anybody's hands (records of
        ownerships that ended are still in their threads', and counted), and then until all that is settled is
        committed: good work would else be done again beside each of the deaths that it causes.
        """
        assert self.gate is not None  # noqa: S101 - else it is over
        needs_alone = self.gate.needs_alone(lane)
        if busy and (self._has_turn or needs_alone):
            return False
        if needs_alone:
            if self.until is None:
                self.until = now + COMMIT_PATIENCE
            self.is_held = now < self.until and not self.gate.is_committed()
            if self.is_held:
                return False
        self._has_turn = needs_alone
        self.forget()
        return True

    def release(self) -> None:
        """Have whoever waits for a commit asked for again."""
        self.is_held = False

    def forget(self) -> None:
        """Let go of whoever waits for a commit: the line is another one now."""
        self.is_held, self.until = False, None
