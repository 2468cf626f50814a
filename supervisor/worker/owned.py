"""What a worker knows of one partition for as long as it owns it."""

from typing import Protocol

from supervisor.core.cases import Case
from supervisor.core.lane import Place
from supervisor.core.offsets import PartitionOffsets
from supervisor.plugin.types import Message
from supervisor.worker.returned import Later


class Sized(Protocol):
    """What is kept for a record; ``size`` is about how many bytes it holds."""

    size: int


class Owned:
    """A partition during one ownership; a later ownership of the same partition is another object (the fence).

    ``revoked`` turns true once and for all: results that come later are dropped. ``topic_index`` stands for
    the topic on the board.
    """

    __slots__ = (
        "accused",
        "committed",
        "filling",
        "filling_since",
        "filling_size",
        "later",
        "number",
        "offsets",
        "outputs",
        "partition",
        "place",
        "revoked",
        "sent",
        "topic_index",
    )

    def __init__(self, place: Place, topic_index: int, number: int) -> None:
        self.place = place
        self.partition = place[1]
        self.number = number
        """Stands for the place in lanes' names, in every ownership of it: it is hashed with each record."""
        self.topic_index = topic_index
        self.offsets = PartitionOffsets()
        self.filling: list[Message] = []
        """Records that wait for more to make a batch, without a lane; the last of the partition's stretch."""
        self.filling_since = 0.0
        self.filling_size = 0
        self.later: Later | None = None
        self.outputs: dict[int, Sized] = {}
        """What records' handlers returned and is not confirmed, by offset; the outlet's own."""
        self.accused: dict[int, Case] = {}
        """Records that are accused of killing a worker and not done yet, by offset."""
        self.revoked = False
        self.sent: int | None = None
        """The newest offset given to a commit, or to librdkafka's store."""
        self.committed = -1


Item = tuple[Owned, Message]
"""A record as lanes hold it: with the ownership that it was delivered to."""
