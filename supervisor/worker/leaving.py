"""An incarnation that only leaves: it takes a dead static member's place, then gives it up for good.

Its partitions are then worked by others within a heartbeat, instead of after the session timeout.
"""

import logging
import time
from collections.abc import Sequence

from supervisor.core.exits import ExitCode
from supervisor.core.retry_topics import subscription
from supervisor.core.spec import Delivery, WorkerSpec
from supervisor.kafka.consumer import Place, Source, trouble_of
from supervisor.kafka.settings import consumer_settings, transaction_settings
from supervisor.kafka.transactions import AbortedError, FatalError, TransactionalProducer
from supervisor.worker.orders import Orders
from supervisor.worker.process import Ending
from supervisor.worker.troubles import NO_TOPIC

logger = logging.getLogger(__name__)
JOIN_TIMEOUT = 15.0
PATIENCE = {"GROUP_AUTHORIZATION_FAILED": 0.0, "CLUSTER_AUTHORIZATION_FAILED": 0.0, "TOPIC_AUTHORIZATION_FAILED": 1.0}
"""Seconds to go on once a right is missing: with one topic's, the others may still bring an assignment."""

ABSENT = 3.0
"""Seconds until it is believed that no topic is there: brokers that have just started may say so, too."""


class _Watcher:
    """Hears when the dead member's place is ours; records that come meanwhile are not looked at, nothing commits."""

    def __init__(self) -> None:
        self.joined = False
        self.trouble = ""
        self.refused_at: float | None = None
        self.missing: set[str] = set()
        self.missing_since = 0.0

    def assigned(self, _places: Sequence[Place]) -> None:
        self.joined = True

    def revoked(self, _places: Sequence[Place]) -> None: ...
    def lost(self, _places: Sequence[Place]) -> None: ...
    def committed(self, _results: Sequence[tuple[Place, int, str | None]]) -> None: ...

    def client_error(self, code: str, _text: str) -> None:
        self.trouble = code

    def heard(self, trouble: tuple[str, str] | None, topic: str | None) -> None:
        if trouble is not None and trouble[0] in NO_TOPIC and topic is not None and topic not in self.missing:
            self.missing.add(topic)
            self.missing_since = time.monotonic()
        if trouble is not None and trouble[0] in PATIENCE:
            self.trouble = trouble[0]
            self.refused_at = self.refused_at or time.monotonic()

    def crashed(self, error: BaseException) -> None:
        self.trouble = type(error).__name__


def _end_transaction(spec: WorkerSpec) -> None:
    """End what the dead one left open: until then the next owners could not read its partitions' offsets."""
    try:
        TransactionalProducer(transaction_settings(spec, timeout=JOIN_TIMEOUT), timeout=JOIN_TIMEOUT).start(
            JOIN_TIMEOUT
        )
    except (AbortedError, FatalError) as error:
        logger.warning("transactions.not_ended", extra={"fields": {"code": error.code}})


def leave(spec: WorkerSpec, orders: Orders) -> Ending:
    """Join under the slot's static id and leave; ``FAILURE`` when the group may not or cannot be reached in time."""
    if spec.group.delivery is Delivery.EXACTLY_ONCE:
        _end_transaction(spec)
    watcher = _Watcher()
    topics = subscription(spec.group)
    source = Source(consumer_settings(spec), topics, watcher)
    deadline = time.monotonic() + JOIN_TIMEOUT
    while not watcher.joined and time.monotonic() < deadline:
        if orders.wait(0) is not None:
            break
        for message in source.poll(0.05, 1):
            watcher.heard(trouble_of(message), message.topic())
        if watcher.missing.issuperset(topics):
            deadline = min(deadline, watcher.missing_since + ABSENT)
        if watcher.refused_at is not None:
            deadline = min(deadline, watcher.refused_at + PATIENCE.get(watcher.trouble, 0.0))
    if not watcher.joined and watcher.missing.issuperset(topics):
        return Ending(ExitCode.OK, "no topic is there, so no partition waits for this place", left=True)
    if not watcher.joined:
        why = watcher.trouble or "no assignment came"
        return Ending(ExitCode.FAILURE, f"could not leave group {spec.group.name}: {why}", is_tidy=False)
    if not source.leave():
        return Ending(ExitCode.FAILURE, f"could not leave group {spec.group.name} in time", is_tidy=False)
    logger.info("slot.left")
    return Ending(ExitCode.OK, "left", left=True)
