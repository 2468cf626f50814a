"""Who runs under our static id? The one question a worker asks with an admin client, on its way out."""

import logging
from collections.abc import Mapping

from confluent_kafka import KafkaException

from supervisor.kafka.settings import Value, client_settings

logger = logging.getLogger(__name__)
TIMEOUT = 5.0
UNKNOWN = ("?", "?")


def other_member(kafka: Mapping[str, Value], group: str, instance_id: str) -> tuple[str, str]:
    """Return (host, client id) of the member that holds a static id; ``UNKNOWN`` when it cannot be found. Blocks."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - 6 ms that a worker's start need not pay

    # Kept referenced until the answer is there: a dropped client never completes its futures.
    client = AdminClient(client_settings(kafka, client_id=f"{instance_id}-fenced"))
    try:
        future = client.describe_consumer_groups([group], request_timeout=TIMEOUT)[group]
        members = future.result(timeout=TIMEOUT).members
    except (KafkaException, TimeoutError) as error:
        logger.warning("fencing.unexplained", extra={"fields": {"why": str(error)}})
        return UNKNOWN
    for member in members:
        if member.group_instance_id == instance_id:
            return member.host, member.client_id
    return UNKNOWN
