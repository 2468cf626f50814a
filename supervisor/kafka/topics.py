"""Dead-letter topics, made when the first letter needs one: as many partitions as its source, kept until deleted."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from supervisor.kafka.producer import ProduceError
from supervisor.kafka.settings import Value

if TYPE_CHECKING:
    from supervisor.kafka.admin import Admin

logger = logging.getLogger(__name__)
PATIENCE = 5.0
"""Seconds that one question to the cluster may take, and the least between two looks when the first did not help."""
FORBIDDEN = "TOPIC_AUTHORIZATION_FAILED"
CONFIG: Mapping[str, str] = {
    "cleanup.policy": "delete",
    # Letters are there until somebody has dealt with them: a default of a week would be a silent loss.
    "retention.ms": "-1",
    "retention.bytes": "-1",
}


class DeadLetterTopics:
    """Looks at topics before the first letter is written to them. Any thread; an admin client lives for one look only.

    A right that is missing must be known before: a transaction that was refused its first partition cannot even be
    aborted, and costs the process.
    """

    def __init__(self, kafka: Mapping[str, Value], *, client_id: str, create: bool = True) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._create = create
        self._lock = threading.Lock()
        """Held while the cluster is asked."""
        self._asides = threading.Lock()
        self._looking: dict[str, Future[None]] = {}
        """Looks that threads of their own make."""
        self._ready: set[str] = set()
        self._looked_at: dict[str, float] = {}
        self._refused: set[str] = set()

    def make(self, topic: str, *, like: str) -> int:
        """Make a topic that is not there; return its partitions, as many as ``like`` has, or 0 when nothing was done.

        Blocks once per topic, until the cluster has answered or ``PATIENCE`` is over. Whoever may not make topics, or
        cannot now, hears of it from the write that follows.
        """
        if topic in self._ready:
            return 0
        with self._lock:
            if topic in self._ready:
                return 0
            made = 0
            if self._is_unknown(topic):
                try:
                    made = self._look(topic, like)
                finally:
                    self._looked_at[topic] = time.monotonic()
            return made

    def beforehand(self, topic: str, *, like: str, made: Callable[[int], None]) -> "Future[None] | None":
        """Return what ends once a thread of its own did what ``make`` does; ``None`` when nothing is to be done.

        Does not block; ``made`` is called by that thread with the partitions of a topic that it made.
        """
        with self._asides:
            if not self._is_unknown(topic):
                return None
            future = self._looking.get(topic)
            if future is None:
                future = self._looking[topic] = Future()
                arguments = (topic, like, made, future)
                threading.Thread(target=self._aside, args=arguments, name="letter-topics", daemon=True).start()
            return future

    def _aside(self, topic: str, like: str, made: Callable[[int], None], future: "Future[None]") -> None:
        try:
            partitions = self.make(topic, like=like)
            if partitions:
                made(partitions)
        finally:
            with self._asides:
                del self._looking[topic]
            future.set_result(None)  # whatever came of it: the write that follows hears of it

    def _is_unknown(self, topic: str) -> bool:
        return topic not in self._ready and time.monotonic() - self._looked_at.get(topic, -PATIENCE) >= PATIENCE

    def demand(self, topic: str) -> None:
        """Raise ``ProduceError`` when the last look at a topic found that it may not be written to."""
        if topic in self._refused:
            raise ProduceError(FORBIDDEN, f"no right to write to topic {topic!r}")

    def forget(self, topic: str) -> None:
        """Look again with the next letter: this one was not taken."""
        self._ready.discard(topic)

    def _look(self, topic: str, like: str) -> int:
        from supervisor.kafka.admin import Admin, AdminError  # noqa: PLC0415 - 6 ms that others need not pay

        self._refused.discard(topic)
        made = 0
        try:
            admin = Admin(self._kafka, client_id=self._client_id)
            states = admin.topics([topic, like], PATIENCE)
            state = states[topic]
            if not state.exists and self._create:
                made = admin.create_topic(topic, states[like].partitions, _config(admin, like), PATIENCE)
                state = admin.topics([topic], PATIENCE)[topic]
        except AdminError as error:
            logger.warning("dead_letter_topic.not_made", extra={"fields": {"topic": topic, "why": str(error)}})
            return 0
        if state.operations is not None and "WRITE" not in state.operations:
            self._refused.add(topic)
        elif state.exists and not state.error:
            self._ready.add(topic)
        return made


def _config(admin: "Admin", like: str) -> dict[str, str]:
    """Return a topic's settings: what its source takes must fit in it, too."""
    largest = admin.topic_setting(like, "max.message.bytes", PATIENCE)
    return {**CONFIG, **({"max.message.bytes": largest} if largest else {})}
