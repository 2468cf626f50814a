"""Everything that brokers tell of one group's lag, asked by a client that never joins it."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException

from supervisor.core.lag import PartitionLag, lag_of
from supervisor.core.retry_topics import retry_topics, subscription
from supervisor.core.spec import GroupSpec
from supervisor.kafka.members import STABLE, Member, Membership, Place, membership
from supervisor.kafka.offsets import AskError, bounds, committed
from supervisor.kafka.settings import asker_settings, first_position

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

TIMEOUT = 10.0
AT_ONCE = 2000
"""Partitions per question."""
_MISSING = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC"}
_EMPTY = "Empty"


@dataclass(frozen=True, slots=True)
class Topics:
    """The partitions of a group's topics, those that do not exist, and those this user may not see."""

    places: tuple[Place, ...]
    missing: tuple[str, ...]
    denied: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a group. ``members`` is ``None`` when nobody could say who is in it."""

    topics: Topics
    partitions: tuple[PartitionLag, ...]
    members: tuple[Member, ...] | None


class GroupReader:
    """Looks at one group; each question blocks for ``TIMEOUT`` seconds at most. One thread at a time."""

    def __init__(self, group: GroupSpec) -> None:
        self._group = group
        self._begins = first_position(group.kafka)
        self._copies = retry_topics(group)
        self._consumer = Consumer(asking_settings(group, client_id=f"{group.name}-inspector"))

    def read(self, admin: "AdminClient") -> Reading:
        """Return how far the group is; ``admin`` may be shared by groups. Raises ``AskError``."""
        topics = topics_of(self._consumer, subscription(self._group), optional=self._copies)
        members = self._members(admin)
        owners = None if members is None else _owners(members)
        done: dict[Place, tuple[int, str]] = {}
        found: dict[Place, tuple[int, int]] = {}
        for at in range(0, len(topics.places), AT_ONCE):
            some = topics.places[at : at + AT_ONCE]
            # Committed first: what is committed meanwhile is below the ends asked for next.
            done |= committed(self._consumer, some, TIMEOUT)
            found |= bounds(self._consumer, some, TIMEOUT)
        partitions = []
        for place in topics.places:
            if place not in found or place not in done:
                continue  # it has no leader now, or just went
            (earliest, end), (offset, _) = found[place], done[place]
            begins = "earliest" if place[0] in self._copies else self._begins
            lag = lag_of(offset, earliest, end, begins=begins)
            owner = None if owners is None else owners.get(place, "")
            partitions.append(PartitionLag(*place, max(-1, offset), end, lag, owner))
        return Reading(topics, tuple(partitions), members)

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def _members(self, admin: "AdminClient") -> tuple[Member, ...] | None:
        """Return who is in the group, ``None`` while that cannot be told: a rebalance, or no safe way to ask."""
        if self._group.protocol != "classic":
            return None  # only the call that can abort this process knows them, see ``kafka.members``
        found = look_at(admin, self._group.name)
        if found is None or found.state == _EMPTY:
            return ()
        return found.members if found.state == STABLE else None


def asking_settings(group: GroupSpec, *, client_id: str) -> dict[str, str | int | float | bool]:
    """Return the settings of a consumer that asks in a group's name, without joining it."""
    # An open transaction's records are not the group's to wait for, unless it reads them.
    isolation = str(group.kafka.get("isolation.level", "read_committed"))
    return asker_settings(group.kafka, client_id=client_id) | {
        "group.id": group.name,
        "enable.auto.commit": False,
        "isolation.level": isolation,
    }


def look_at(admin: "AdminClient", group: str) -> Membership | None:
    """Return who is in a classic group, ``None`` if there is none; raises ``AskError``."""
    try:
        return membership(admin, group, TIMEOUT)
    except KafkaException as error:
        raise AskError(error.args[0].name()) from error


def topics_of(consumer: Consumer, wanted: Sequence[str], *, optional: Collection[str] = ()) -> Topics:
    """Return what there is of a group's topics; only a pattern asks for every topic of the cluster.

    ``optional`` ones are not missing where they are not there.
    """
    patterns = [topic for topic in wanted if topic.startswith("^")]
    places: set[Place] = set()
    missing, denied = [], []
    try:
        if patterns:
            for name, topic in consumer.list_topics(timeout=TIMEOUT).topics.items():
                if topic.error is None and any(re.match(pattern, name) for pattern in patterns):
                    places |= {(name, at) for at in topic.partitions}
        for name in wanted:
            if name.startswith("^"):
                continue
            topic = consumer.list_topics(name, timeout=TIMEOUT).topics[name]
            if topic.error is None:
                places |= {(name, at) for at in topic.partitions}
            elif topic.error.name() in _MISSING:
                missing += [] if name in optional else [name]
            else:
                denied.append(name)
    except KafkaException as error:
        raise AskError(error.args[0].name()) from error
    except re.error as error:
        message = f"the pattern of the topics cannot be told here: {error}"
        raise AskError(message) from error
    return Topics(tuple(sorted(places)), tuple(missing), tuple(denied))


def _owners(members: Sequence[Member]) -> Mapping[Place, str]:
    return {place: member.client_id for member in members for place in member.places}
