"""Partitions that a stable group has given to nobody.

With cooperative-sticky (KIP-429) a partition moves in two rounds: its owner gives it up, rejoins, and only then
somebody gets it. A static member (KIP-345) that dies between the two comes back with what it was to keep, no
rebalance follows, and the partition stays with nobody.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from supervisor.kafka.members import STABLE, Place, membership
from supervisor.kafka.settings import Value, asker_settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

TIMEOUT = 5.0


class Holes:
    """A look at one group, as often as asked, with one client for all looks. Any thread, one at a time."""

    def __init__(self, kafka: Mapping[str, Value], group: str, topics: Sequence[str]) -> None:
        self._settings = asker_settings(kafka, client_id=f"{group}-holes")
        self._group = group
        self._topics = topics
        self._client: AdminClient | None = None

    def find(self) -> set[Place] | None:
        """Return the partitions with no owner; ``None`` while it cannot be told (rebalancing, no answer, no right).

        Blocks for ``TIMEOUT`` seconds per question at most.
        """
        # Imported late: only a look after the start needs it, never the start itself.
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415

        client = self._client = self._client or AdminClient(self._settings)
        try:
            group = membership(client, self._group, TIMEOUT)
            wanted = partitions_of(client, self._topics, timeout=TIMEOUT)
        except (KafkaException, re.error):  # a pattern may be librdkafka's and not ours
            return None
        if group is None or group.state != STABLE:
            return None
        return wanted - {place for member in group.members for place in member.places}


def partitions_of(client: "AdminClient | Consumer", wanted: Sequence[str], *, timeout: float) -> set[Place]:
    """Return all partitions of a group's topics; only a pattern asks for every topic of the cluster."""
    patterns = [topic for topic in wanted if topic.startswith("^")]
    topics = client.list_topics(timeout=timeout).topics if patterns else {}
    found = {name: topic for name, topic in topics.items() if any(re.match(one, name) for one in patterns)}
    for name in wanted:
        if name not in patterns:
            found |= client.list_topics(name, timeout=timeout).topics
    return {(name, at) for name, topic in found.items() if topic.error is None for at in topic.partitions}
