"""librdkafka's settings for each kind of client: the user's own, over ours, under those the worker lives by."""

from collections.abc import Mapping

from supervisor.core.spec import WorkerSpec

Value = str | int | float | bool
Settings = dict[str, Value]

BEGINNINGS: Mapping[str, str] = {
    "earliest": "earliest",
    "smallest": "earliest",
    "beginning": "earliest",
    "latest": "latest",
    "largest": "latest",
    "end": "latest",
    "error": "stop",
}
"""librdkafka's words for ``auto.offset.reset``, and what a group without a committed offset does."""

DEFAULTS: Mapping[str, Value] = {
    "auto.offset.reset": "earliest",
    # A large prefetch is thrown away by each pause, and costs memory per worker; a small one needs a short
    # queue backoff, or a fast handler starves for a second between fetches.
    "queued.max.messages.kbytes": 16384,
    "fetch.queue.backoff.ms": 50,
    # The default of five minutes is how long a classic group would not see added partitions.
    "topic.metadata.refresh.interval.ms": 30000,
}
CLASSIC_DEFAULTS: Mapping[str, Value] = {
    "partition.assignment.strategy": "cooperative-sticky",
    # Real rebalances finish in heartbeats.
    "heartbeat.interval.ms": 1000,
}
MAX_BYTES = 100_000_000
"""Of producers' records. The client's own limit is below the broker's: what could be read could not be written."""
PACKED: Settings = {"compression.type": "zstd"}
"""Unless the user says otherwise. Topics' limits are of what is stored: what was read from one, where its producer had
compressed it, fits into its like only compressed."""
SHARED: Mapping[str, Value] = {
    "log_level": 6,
    "log.connection.close": False,
    # Histograms for brokers that may ask for them (KIP-714): half a megabyte in each client.
    "enable.metrics.push": False,
    # Half of it, 11 ms at least, a new client waits before it asks anew who coordinates its group: its first question
    # is lost with the bootstrap connection, which ends once the broker's own name is known. It doubles as ever.
    "reconnect.backoff.ms": 22,
}
"""Of all clients."""

_CONSUMER_ONLY = (
    "auto.offset.reset",
    "queued.",
    "fetch.",
    "max.poll.interval.ms",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "partition.assignment.strategy",
    "group.",
    "isolation.level",
    "check.crcs",
    "max.partition.fetch.bytes",
    "coordinator.query.interval.ms",
)


def client_settings(kafka: Mapping[str, Value], *, client_id: str) -> Settings:
    """Return what an admin client or producer takes of the user's settings: all but a consumer's own."""
    shared = {key: value for key, value in kafka.items() if not key.startswith(_CONSUMER_ONLY)}
    return {**SHARED, **shared, "client.id": client_id}


def asker_settings(kafka: Mapping[str, Value], *, client_id: str) -> Settings:
    """Return the settings of a client that only asks, and whose trouble is told in words of ours.

    Its own lines would go to stderr past the log; with ``debug`` they do whatever its level is.
    """
    shared = {key: value for key, value in client_settings(kafka, client_id=client_id).items() if key != "debug"}
    return shared | {"log_level": 0}


def consumer_settings(spec: WorkerSpec) -> Settings:
    """Return the settings of a worker's consumer; static membership (KIP-345) in classic groups only.

    Under KIP-848 a static member that was killed locks out its own replacement until the broker's session
    timeout, so those members are dynamic.
    """
    group = spec.group
    settings: Settings = {**SHARED, **DEFAULTS}
    if spec.is_static:
        settings |= CLASSIC_DEFAULTS
    settings |= group.kafka
    automatic = group.commit.mode == "automatic"
    settings |= {
        "group.id": group.name,
        "client.id": spec.instance_id,
        "group.protocol": group.protocol,
        "enable.auto.commit": automatic,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        # Where to begin is the worker's own work (``worker.beginnings``): the client must never jump by itself.
        "auto.offset.reset": "error",
    }
    if automatic:
        settings["auto.commit.interval.ms"] = max(1, round(group.commit.interval * 1000))
    if spec.is_static:
        settings["group.instance.id"] = spec.instance_id
    return settings


def first_position(kafka: Mapping[str, Value]) -> str:
    """Return where a group without a committed offset begins: ``earliest``, ``latest``, or ``stop``: nowhere."""
    wanted = str(kafka.get("auto.offset.reset", DEFAULTS["auto.offset.reset"]))
    return BEGINNINGS.get(wanted, "stop")


def output_settings(spec: WorkerSpec) -> Settings:
    """Return the settings of the producer of handlers' outputs: idempotent, and as patient as its partitions.

    A record waits for its broker for as long as it takes: its offset does not move, and back-pressure bounds
    what waits. The user's own linger, compression and so on come first.
    """
    return (
        {"linger.ms": 5, "queue.buffering.max.messages": 1_000_000, "message.max.bytes": MAX_BYTES}
        | client_settings(spec.group.kafka, client_id=spec.instance_id)
        | {"enable.idempotence": True, "message.timeout.ms": 0}
    )


def transaction_settings(spec: WorkerSpec, *, timeout: float) -> Settings:
    """Return the settings of a slot's transactional producer; the id is the slot's, so a successor fences it."""
    settings = PACKED | output_settings(spec)
    del settings["message.timeout.ms"]  # librdkafka bounds it by the transaction's own
    return {"transaction.timeout.ms": round(timeout * 1000)} | settings | {"transactional.id": spec.instance_id}


def alone(settings: Settings) -> Settings:
    """Return what sends again what was refused as too large in a batch with others: by itself, and compressed."""
    return PACKED | settings | {"batch.num.messages": 1}


def is_alone(settings: Settings) -> bool:
    """Tell whether these are settings that ``alone`` made."""
    return settings.get("batch.num.messages") == 1


def producer_settings(spec: WorkerSpec) -> Settings:
    """Return the settings of a worker's producer: idempotent, and done with a record within the sink's deadline."""
    return (
        {"message.max.bytes": MAX_BYTES, "linger.ms": 5}
        | client_settings(spec.group.kafka, client_id=spec.instance_id)
        | {
            "enable.idempotence": True,
            "message.timeout.ms": max(1000, round(spec.group.dead_letters.timeout * 1000)),
        }
    )
