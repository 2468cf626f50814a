"""Where a group is to go on: the rules and values of ``supervisor offsets``. Pure."""

from dataclasses import dataclass

TARGET = r"earliest|latest|[0-9]{1,18}|@[0-9]{1,15}"
"""How processes tell each other where to: an end, an offset, or ``@`` and milliseconds since the epoch."""


class ResetError(ValueError):
    """A partition cannot go on there; the text says which and why."""


@dataclass(frozen=True, slots=True)
class OffsetMove:
    """One partition: what it holds, what is committed (-1: nothing), and what is to be, ``None``: as it is."""

    topic: str
    partition: int
    earliest: int
    end: int
    before: int
    after: int | None = None

    @property
    def name(self) -> str:
        """The partition as people write it."""
        return f"{self.topic}/{self.partition}"

    @property
    def lag(self) -> int:
        """How many offsets the group has before it, once it is so."""
        at = self.before if self.after is None else self.after
        return max(0, self.end - max(at, self.earliest))


@dataclass(frozen=True, slots=True)
class OffsetsAnswer:
    """What was found, or done. ``members`` are ``client id @ host``; ``error`` says why it was not done."""

    moves: tuple[OffsetMove, ...] = ()
    members: tuple[str, ...] = ()
    error: str = ""


def position(to: str, *, name: str, earliest: int, end: int, at_time: int | None = None) -> int:
    """Return the offset that ``to`` means in a partition; ``at_time``: the first offset of that time, if there is one.

    Raises ``ResetError`` for an offset that is not there: the group would stop at it, or jump.
    """
    if to == "earliest":
        return earliest
    if to == "latest":
        return end
    if to.startswith("@"):
        return end if at_time is None or at_time < 0 else min(max(at_time, earliest), end)
    offset = int(to)
    if not earliest <= offset <= end:
        message = f"{name} holds the offsets {earliest} to {end}, not {offset}"
        raise ResetError(message)
    return offset
