"""How far a group is behind, partition by partition, whoever works them. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of a group's topics as the brokers tell it.

    ``committed`` is -1 where nothing was committed. ``lag`` is ``None`` where it depends on when a worker comes.
    ``owner`` is the client id of the member that has it: empty when nobody has, ``None`` when that is not known.
    """

    topic: str
    partition: int
    committed: int
    end: int
    lag: int | None
    owner: str | None = None

    @property
    def place(self) -> Place:
        """The partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member of the group, on whatever host; ``is_ours`` when a slot of this supervisor has that client id."""

    client_id: str
    host: str
    partitions: int
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class GroupLag:
    """What the inspector last read of a group.

    ``total`` (of the partitions whose lag is known) is ``None`` while there is no reading, or only an old one;
    ``age`` is the reading's, in seconds. ``members`` is ``None`` where nobody can be asked for them. ``missing``
    are topics that do not exist, ``denied`` those that may not be seen. ``trouble`` says why there is no new reading.
    """

    total: int | None = None
    age: float | None = None
    partitions: tuple[PartitionLag, ...] = ()
    members: tuple[GroupMember, ...] | None = None
    missing: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def unowned(self) -> tuple[PartitionLag, ...]:
        """The partitions that no member has."""
        return tuple(one for one in self.partitions if one.owner == "")


def lag_of(committed: int, earliest: int, end: int, *, begins: str) -> int | None:
    """Return how many offsets a group has before it in a partition.

    ``begins`` says where it begins without a committed offset: ``earliest``, or elsewhere, which only the worker
    that comes will know. A committed offset below what is still there counts from there.
    """
    if committed < 0:
        return max(0, end - earliest) if begins == "earliest" else None
    return max(0, end - max(committed, earliest))


def total(partitions: Iterable[PartitionLag]) -> int:
    """Return the sum of the lags that are known."""
    return sum(one.lag for one in partitions if one.lag is not None)


def slot_of(client_id: str, group: str) -> tuple[str, int] | None:
    """Return the supervisor's name and the slot of a member of ours, or of another supervisor's, by its client id."""
    name, found, number = client_id.rpartition(f"-{group}-")
    return (name, int(number)) if found and name and number.isascii() and number.isdigit() else None


def supervisors(members: Sequence[GroupMember], group: str, *, own: str) -> int:
    """Return how many supervisors work a group: this one, and those that its other members show."""
    names = {own}
    for member in members:
        slot = slot_of(member.client_id, group)
        names.add(slot[0] if slot is not None else f"@{member.host}")
    return len(names)
