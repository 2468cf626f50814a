"""Retry topics, made where they are missing: as many partitions as their source, never compacted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from supervisor.core.retry_topics import RetryTopic
from supervisor.kafka.admin import Admin, AdminError
from supervisor.kafka.settings import Value

TIMEOUT = 10.0
WEEK = 7 * 86400.0
"""Seconds that a retry topic keeps records at least, whatever the brokers' own default is."""


@dataclass(slots=True)
class Look:
    """What one look found. ``made`` has partitions by topic, ``refused`` why a topic could not be made."""

    there: set[str] = field(default_factory=set)
    made: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class RetryTopicMaker:
    """Looks at a group's retry topics with one admin client. One thread; every call blocks."""

    def __init__(self, kafka: Mapping[str, Value], *, client_id: str) -> None:
        self._admin = Admin(kafka, client_id=client_id)

    def look(self, wanted: Mapping[str, RetryTopic]) -> Look:
        """Return which topics are there, and make what is missing; raise ``AdminError`` when nobody answers.

        What was made now is there for the next look: not every broker knows of it yet.
        One whose source is not there either is left: nobody knows how many partitions it will have.
        """
        states = self._admin.topics(list({*wanted, *(topic.source for topic in wanted.values())}), TIMEOUT)
        found = Look()
        for name, topic in wanted.items():
            state, partitions = states[name], states[topic.source].partitions
            if state.exists and not state.error:
                found.there.add(name)
            elif state.error:
                found.refused[name] = state.error
            elif partitions:
                self._make(found, topic, partitions)
        return found

    def _make(self, found: Look, topic: RetryTopic, partitions: int) -> None:
        kept = max(WEEK, 3 * topic.delay)
        config = {"cleanup.policy": "delete", "retention.ms": str(round(kept * 1000))}
        try:
            if self._admin.create_topic(topic.name, partitions, config, TIMEOUT):
                found.made[topic.name] = partitions
        except AdminError as error:
            found.refused[topic.name] = error.code or str(error)
