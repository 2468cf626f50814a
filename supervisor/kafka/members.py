"""Who is in a classic group, asked in a way that cannot end the process that asks.

``AdminClient.describe_consumer_groups`` can: when the coordinator's connection breaks under its request, librdkafka
2.16 aborts on an assertion (``rd_kafka_enq_once_del_source_return``). The older request behind ``list_groups`` does
not; it asks every broker, and has no answer while one of them has none.
"""

import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

Place = tuple[str, int]
STABLE = "Stable"


@dataclass(frozen=True, slots=True)
class Member:
    """One member. ``member_id`` begins with the static id, where there is one (KIP-345), and a ``-``."""

    member_id: str
    client_id: str
    host: str
    places: frozenset[Place]


@dataclass(frozen=True, slots=True)
class Membership:
    """A group's state in the broker's word (``STABLE`` or another), and its members."""

    state: str
    members: tuple[Member, ...]


def membership(client: "AdminClient", group: str, timeout: float) -> Membership | None:
    """Return who is in a group, ``None`` if there is none. Blocks; raises ``KafkaException`` when nobody answers."""
    # The binding calls it old. Where warnings are errors, that one would break the call from inside.
    warnings.filterwarnings("ignore", message=r"list_groups\(\) is deprecated", category=DeprecationWarning)
    found: list[Any] = client.list_groups(group, timeout)
    for one in found:
        if one.id == group and one.error is None:
            return Membership(one.state, tuple(_member(member) for member in one.members))
    return None


def _member(found: Any) -> Member:  # noqa: ANN401 - the client's own type
    return Member(found.id, found.client_id, found.client_host, assigned(found.assignment or b""))


def assigned(data: bytes) -> frozenset[Place]:
    """Return the partitions of a member's assignment as its leader wrote it (ConsumerProtocolAssignment)."""
    if len(data) < 6:  # noqa: PLR2004 - version and count: a member without an assignment yet
        return frozenset()
    places: set[Place] = set()
    (topics,), at = struct.unpack_from(">i", data, 2), 6
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", data, at)
        topic = data[at + 2 : at + 2 + length].decode()
        (count,) = struct.unpack_from(">i", data, at + 2 + length)
        at += 2 + length + 4
        places.update((topic, partition) for partition in struct.unpack_from(f">{count}i", data, at))
        at += 4 * count
    return frozenset(places)
