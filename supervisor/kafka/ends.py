"""What a group has to do and has done, asked by a client that never joins it."""

import re
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException

from supervisor.core.ends import Goal
from supervisor.core.retry_topics import retry_topics, subscription
from supervisor.core.spec import GroupSpec
from supervisor.kafka.holes import partitions_of
from supervisor.kafka.offsets import AskError, Place, bounds, committed
from supervisor.kafka.settings import asker_settings

TIMEOUT = 10.0
NO_LEADER = "LEADER_NOT_AVAILABLE"
AT_ONCE = 2000
"""Partitions per question."""


class MissingTopicError(Exception):
    """A topic that the group names does not exist."""


class GroupOffsets:
    """Questions about one group; each blocks for ``TIMEOUT`` seconds at most, and raises ``AskError``."""

    def __init__(self, group: GroupSpec) -> None:
        self._group = group
        # An open transaction's records are not the group's to wait for, unless it reads them.
        isolation = str(group.kafka.get("isolation.level", "read_committed"))
        self._consumer = Consumer(
            asker_settings(group.kafka, client_id=f"{group.name}-ends")
            | {"group.id": group.name, "enable.auto.commit": False, "isolation.level": isolation}
        )

    def goals(self, *, of_copies: bool = False) -> list[Goal]:
        """Return the group's partitions as they are now, or those of its retry topics; raises ``MissingTopicError``."""
        wanted = tuple(retry_topics(self._group)) if of_copies else subscription(self._group)
        try:
            places = sorted(partitions_of(self._consumer, wanted, timeout=TIMEOUT))
        except KafkaException as error:
            raise AskError(error.args[0].name()) from error
        except re.error as error:
            message = f"the pattern of the topics cannot be told here: {error}"
            raise MissingTopicError(message) from error
        named = {topic for topic in self._group.topics if not topic.startswith("^")}
        missing = named - {topic for topic, _ in places}
        if missing and not of_copies:
            message = f"topic {', '.join(sorted(missing))} does not exist, or may not be seen"
            raise MissingTopicError(message)
        done = self.committed(places)
        goals = []
        for some in _parts(places):
            found = bounds(self._consumer, some, TIMEOUT)
            if len(found) < len(some):
                raise AskError(NO_LEADER)
            goals += [Goal(*place, *found[place], done.get(place, -1)) for place in some]
        return goals

    def committed(self, places: Sequence[Place]) -> Mapping[Place, int]:
        """Return the committed offsets of those that have one."""
        found: dict[Place, int] = {}
        for some in _parts(places):
            answers = committed(self._consumer, some, TIMEOUT)
            found |= {place: offset for place, (offset, _) in answers.items() if offset >= 0}
        return found

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()


def _parts(places: Sequence[Place]) -> list[Sequence[Place]]:
    return [places[at : at + AT_ONCE] for at in range(0, len(places), AT_ONCE)]
