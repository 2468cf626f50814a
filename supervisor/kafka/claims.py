"""Have a replay to ourselves, on whatever hosts it is begun: as the one member of its consumer group.

Brokers take a commit only from who is in the group, and tell when somebody else comes: so of two runs at most one can
note what it is about to send. Classic groups only; who reads is another client, which joins nothing.
"""

import math
import socket
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from supervisor.core.resets import is_hopeless
from supervisor.core.spec import GroupSpec
from supervisor.kafka.lag import TIMEOUT, asking_settings, look_at
from supervisor.kafka.members import Member
from supervisor.kafka.offsets import AskError, Place, committed
from supervisor.kafka.patience import AGAIN_EVERY, patiently
from supervisor.kafka.settings import asker_settings

SESSION = 10.0
"""Seconds after which brokers take a member for dead that says nothing."""
PATIENCE = SESSION + 5.0
"""Seconds that members of the group may need to be gone: one that was killed is, one that lives is not."""
JOIN = 60.0
SETTLE = 1.0
"""Seconds after a join in which those come who looked before it, and saw nobody; more than a few heartbeats."""
HEARTBEAT = 0.3
_POLL = 0.2


class ClaimError(AskError):
    """Somebody else has the replay; the text says who, or that it was taken from us."""

    is_final = True


class Claim:
    """Ours from the constructor, which blocks for seconds, to ``close``; raises ``AskError``. One thread.

    The client is served while we commit, and may wait for that for a day: it keeps us in the group by itself.
    """

    def __init__(self, group: GroupSpec, name: str, topics: Sequence[str]) -> None:
        self._name = name
        self._firsts = {(topic, 0) for topic in topics}
        self._owned: set[Place] | None = None
        """What the brokers gave us; ``None`` while they have somebody to come or to go."""
        self._is_doubtful = False
        self._said: dict[Place, set[tuple[int, str]]] = {}
        """What we committed; two of a partition while no broker has answered the last."""
        client_id = f"{group.name}-replay-{socket.gethostname()}"
        self._wait_for_others(AdminClient(asker_settings(group.kafka, client_id=client_id)))
        self._consumer = Consumer(
            asking_settings(group, client_id=client_id)
            | {
                "group.id": name,
                "group.protocol": "classic",
                # Of those that come at one moment just one is given the first partition of each topic.
                "partition.assignment.strategy": "range",
                "session.timeout.ms": round(SESSION * 1000),
                "heartbeat.interval.ms": round(HEARTBEAT * 1000),
                "max.poll.interval.ms": 86_400_000,
                "auto.offset.reset": "error",
            }
        )
        try:
            self._join(topics)
        except BaseException:
            self._consumer.close()
            raise

    def commit(self, offsets: list[TopicPartition]) -> list[TopicPartition]:
        """Commit and wait for the brokers' answer; raises ``KafkaException``, or ``ClaimError`` once it is lost."""
        deadline = time.monotonic() + JOIN
        # A rebalance goes on only when we are told of it here: nobody else is given the replay while we commit.
        while self._consumer.poll(0) is not None:
            pass
        while self._owned is None:
            if time.monotonic() > deadline:
                message = "_TIMED_OUT"
                raise AskError(message)
            self._consumer.poll(_POLL)
        if not self._firsts <= self._owned or (self._is_doubtful and not self._is_as_we_left_it()):
            message = f"{self._name} was taken from us: another run of this replay has it, or had it"
            raise ClaimError(message)
        self._is_doubtful = False
        for one in offsets:
            self._said.setdefault((one.topic, one.partition), set()).add((one.offset, one.metadata or ""))
        answers = self._consumer.commit(offsets=offsets, asynchronous=False) or []
        for one in answers:
            if one.error is None:
                self._said[one.topic, one.partition] = {(one.offset, one.metadata or "")}
        return answers

    def close(self) -> None:
        """Give it to who comes next."""
        self._consumer.close()

    def _wait_for_others(self, admin: AdminClient) -> None:
        deadline = time.monotonic() + PATIENCE
        while others := self._members(admin, deadline):
            if time.monotonic() > deadline:
                who = ", ".join(f"{one.client_id} @ {one.host}" for one in others)
                message = f"this replay is under way already: {who} is in the group {self._name}"
                raise ClaimError(message)
            time.sleep(AGAIN_EVERY)

    def _members(self, admin: AdminClient, deadline: float) -> tuple[Member, ...]:
        found = patiently(lambda: look_at(admin, self._name), patience=deadline - time.monotonic())
        return () if found is None else found.members

    def _join(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(list(topics), on_assign=self._given, on_revoke=self._revoked)
        deadline = time.monotonic() + JOIN
        trouble = "_TIMED_OUT"
        settled = math.inf
        while time.monotonic() < settled:
            message = self._consumer.poll(_POLL)
            error = None if message is None else message.error()
            trouble = trouble if error is None else str(error.name())
            if is_hopeless(trouble) or time.monotonic() > deadline:
                raise AskError(trouble)
            if self._owned is None:
                settled = math.inf
            elif not self._firsts <= self._owned:
                text = f"another run of this replay began at the same moment: it is in the group {self._name}, too"
                raise ClaimError(text)
            else:
                settled = min(settled, time.monotonic() + SETTLE)
        self._is_doubtful = False

    def _is_as_we_left_it(self) -> bool:
        """Tell whether nobody noted anything while we were perhaps out of the group: brokers were away, or we were."""
        found = committed(self._consumer, list(self._said), TIMEOUT)
        return bool(found) and all(found.get(place) in said for place, said in self._said.items())

    def _given(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._owned = {(place.topic, place.partition) for place in places}
        consumer.assign([])  # nothing is read here

    def _revoked(self, *_: Any) -> None:  # noqa: ANN401 - the client's own
        # Only when this returns does the client join anew: who is given the replay then sees all we committed.
        self._owned, self._is_doubtful = None, True
