"""Where a group is to go on: the rules and values of ``supervisor offsets``. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from supervisor.core.commits import Answer, answer

TARGET = r"earliest|latest|[0-9]{1,18}|@[0-9]{1,15}"
"""How processes tell each other where to: an end, an offset, or ``@`` and milliseconds since the epoch."""


_NEVER = {
    "INVALID_COMMIT_OFFSET_SIZE",
    "INVALID_GROUP_ID",
    "OFFSET_METADATA_TOO_LARGE",
    "TOPIC_EXCEPTION",
    "UNSUPPORTED_VERSION",
    "_AUTHENTICATION",
    "_INVALID_ARG",
    "_NO_OFFSET",
    "_STATE",
    "_UNKNOWN_PARTITION",
    "_UNKNOWN_TOPIC",
}
_UNANSWERED = {"_TIMED_OUT", "_TRANSPORT", "REQUEST_TIMED_OUT"}
LIVE = {"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "STALE_MEMBER_EPOCH"}
"""What brokers say to new offsets while somebody is in the group."""


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
    """What was found, or done. ``members`` are ``client id @ host``; ``error`` says why it was not done, or not all.

    ``changed`` are the partitions that were set all the same, as ``names`` writes them.
    """

    moves: tuple[OffsetMove, ...] = ()
    members: tuple[str, ...] = ()
    error: str = ""
    changed: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the partitions that were to be set; ``error`` is the code that ended it, empty when all were.

    ``unsure``: the broker was asked and did not answer, so they may be set or not.
    """

    changed: tuple[OffsetMove, ...] = ()
    unchanged: tuple[OffsetMove, ...] = ()
    unsure: tuple[OffsetMove, ...] = ()
    error: str = ""

    @property
    def text(self) -> str:
        """The outcome of one that was not done to its end, with every partition."""
        parts = []
        for what, moves in (("set", self.changed), ("as before", self.unchanged), ("not known", self.unsure)):
            if moves:
                parts.append(f"{what}: {names(moves)}")
        return "; ".join(parts)


def is_hopeless(code: str) -> bool:
    """Tell whether trying again cannot help: somebody must change something first."""
    return code in _NEVER or answer(code) in (Answer.CONFIG, Answer.FATAL, Answer.FENCED)


def is_unanswered(code: str) -> bool:
    """Tell whether a request that ended so may have been carried out."""
    return code in _UNANSWERED


def names(moves: Iterable[OffsetMove]) -> str:
    """Return partitions as people write them, those in a row as one: ``orders/0-3, orders/7``."""
    parts = []
    for topic, of_topic in groupby(sorted(moves, key=lambda one: (one.topic, one.partition)), lambda one: one.topic):
        numbers = [one.partition for one in of_topic]
        for _, row in groupby(enumerate(numbers), lambda at: at[1] - at[0]):
            in_row = [number for _, number in row]
            first, last = in_row[0], in_row[-1]
            parts.append(f"{topic}/{first}" if first == last else f"{topic}/{first}-{last}")
    return ", ".join(parts)


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
