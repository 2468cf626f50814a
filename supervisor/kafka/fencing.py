"""Who runs under our static id? The one question a worker asks with an admin client, on its way out."""

import logging
from collections.abc import Mapping

from confluent_kafka import KafkaException

from supervisor.kafka.settings import Value, asker_settings

logger = logging.getLogger(__name__)
TIMEOUT = 5.0
UNKNOWN = ("?", "?")


def other_member(kafka: Mapping[str, Value], group: str, instance_id: str) -> tuple[str, str]:
    """Return (host, client id) of the member that holds a static id; ``UNKNOWN`` when it cannot be found. Blocks."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - 7 ms that a worker's start need not pay

    from supervisor.kafka.members import membership  # noqa: PLC0415 - same

    try:
        found = membership(AdminClient(asker_settings(kafka, client_id=f"{instance_id}-fenced")), group, TIMEOUT)
    except KafkaException as error:
        logger.warning("fencing.unexplained", extra={"fields": {"why": str(error)}})
        return UNKNOWN
    for member in found.members if found is not None else ():
        if member.member_id.startswith(f"{instance_id}-"):
            return member.host, member.client_id
    return UNKNOWN
