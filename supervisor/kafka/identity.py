"""Which topic is meant by a name: one that was made anew has another id (KIP-516)."""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as LateError

from confluent_kafka import KafkaException, TopicCollection

from supervisor.kafka.settings import Value, asker_settings

logger = logging.getLogger(__name__)


def topic_ids(kafka: Mapping[str, Value], topics: Sequence[str], client: str, timeout: float) -> dict[str, str]:
    """Return the ids of topics by their names, without those that nobody tells in time. Blocks ``timeout`` at most."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - 6 ms that a worker's start need not pay

    found: dict[str, str] = {}
    deadline = time.monotonic() + timeout
    try:
        admin = AdminClient(asker_settings(kafka, client_id=f"{client}-topics"))
        asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout)
        for name, future in asked.items():
            found[name] = str(future.result(max(0.0, deadline - time.monotonic())).topic_id)
    except (KafkaException, LateError) as error:
        logger.warning("topics.not_identified", extra={"fields": {"why": str(error) or "no answer in time"}})
    return found
