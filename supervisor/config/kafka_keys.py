"""librdkafka's keys that are not the user's to set, each with what to write instead."""

from collections.abc import Mapping
from types import MappingProxyType

KafkaValue = str | int | float | bool

_GROUP_NAME = "the consumer group is the name of the table: [groups.NAME]"
_NO_CALLBACKS = "callbacks are the worker's own; what they would tell is in `supervisor status`, events and logs"
_MEMBER_ID = "member ids are made of supervisor.name, group and slot; set supervisor.name"
_STORED = "offsets are stored once a record is settled; choose commit.mode and commit.interval"
_RAW = "records reach handlers as bytes; decode them in the handler"
_NO_TIMER = "write commit.interval"
_BOTH_ENDS = "what is produced counts as written only when every in-sync replica has it; leave this key out"

OWNED: Mapping[str, str] = MappingProxyType(
    {
        "group.id": _GROUP_NAME,
        "group.instance.id": _MEMBER_ID,
        "client.id": _MEMBER_ID,
        "group.protocol": 'write protocol = "classic" or protocol = "consumer" in the group',
        "enable.auto.commit": 'write commit.mode = "manual" or commit.mode = "automatic" in the group',
        "auto.commit.enable": 'write commit.mode = "manual" or commit.mode = "automatic" in the group',
        "auto.commit.interval.ms": _NO_TIMER,
        "enable.auto.offset.store": _STORED,
        "offset.store.method": _STORED,
        "enable.partition.eof": "the worker needs it to know when a partition is at its end; leave this key out",
        "statistics.interval.ms": "the worker sets it for its own figures; leave this key out",
        "transactional.id": "the worker makes it from supervisor.name, group and slot; leave this key out",
        "acks": _BOTH_ENDS,
        "request.required.acks": _BOTH_ENDS,
        "enable.idempotence": "producers here are always idempotent; leave this key out",
        "message.timeout.ms": "outputs wait as long as it takes; for dead letters write dead_letters.timeout",
        "delivery.timeout.ms": "outputs wait as long as it takes; for dead letters write dead_letters.timeout",
        "logger": "librdkafka's log goes into the worker's own; choose supervisor.log_level",
        "on_commit": _NO_CALLBACKS,
        "on_delivery": _NO_CALLBACKS,
        "key.serializer": _RAW,
        "value.serializer": _RAW,
        "key.deserializer": _RAW,
        "value.deserializer": _RAW,
        "metadata.broker.list": 'write it as "bootstrap.servers"',
    }
)

NOT_WITH_CONSUMER: Mapping[str, str] = MappingProxyType(
    {
        "session.timeout.ms": "brokers decide it: their group.consumer.session.timeout.ms, or the group's config",
        "heartbeat.interval.ms": "brokers decide it: their group.consumer.heartbeat.interval.ms, or the group's config",
        "partition.assignment.strategy": 'brokers assign; write "group.remote.assignor" = "uniform" or "range"',
        "group.protocol.type": "leave this key out",
    }
)
"""Keys with which librdkafka refuses to make a client for ``group.protocol=consumer`` (KIP-848)."""

INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata")
"""The brokers' own topics. Neither librdkafka nor a broker keeps them out of a pattern, as Java's consumer does."""

ONLY_WITH_CONSUMER = "group.remote.assignor"

SESSION_TIMEOUT_MS = 45_000
MAX_POLL_INTERVAL_MS = 300_000
HEARTBEAT_INTERVAL_MS = 1_000
"""What holds when the file says nothing: librdkafka's own defaults, and the worker's for heartbeats."""


def owned(key: str) -> str:
    """Return what to write instead of a key that the supervisor owns; empty when the key is the user's."""
    return OWNED.get(key) or (_NO_CALLBACKS if key.endswith("_cb") else "")


def milliseconds(table: Mapping[str, object], key: str, default: int) -> int | None:
    """Return a time from a table of librdkafka's keys, which may be written as a string; ``None`` when it is none."""
    try:
        return int(str(table.get(key, default)))
    except ValueError:
        return None
