"""What tests and benchmarks do with topics: create, fill, read to the end, ask for committed offsets."""

import ctypes
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import (
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

_DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def header(self) -> dict[str, str]:
        """The headers as text, the last of a name winning."""
        return {name: (value or b"").decode(errors="replace") for name, value in self.headers}


def create_topic(bootstrap: str, name: str, *, partitions: int = 1, config: dict[str, str] | None = None) -> str:
    """Create a topic, wait until the broker leads all of it, and return its name."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config or {})
    admin.create_topics([new], operation_timeout=10)[name].result(_DEADLINE)

    def is_led() -> bool:
        topic = admin.list_topics(name, timeout=5).topics[name]
        return len(topic.partitions) == partitions and all(p.leader >= 0 for p in topic.partitions.values())

    _until(is_led, f"topic {name} has no leaders")
    return name


def produce(
    bootstrap: str,
    topic: str,
    values: Iterable[bytes | str | None],
    *,
    key: Callable[[int], bytes | None] = lambda _: None,
    partition: Callable[[int], int] | None = None,
    headers: list[tuple[str, bytes | None]] | None = None,
) -> int:
    """Write ``values`` in their order and return how many, once the broker has confirmed every one.

    ``key`` and ``partition`` are asked with each value's index; without ``partition`` the key decides.
    """
    failed: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "enable.idempotence": True, "log_level": 3})

    def delivered(error: object, _: Message) -> None:
        if error is not None:
            failed.append(str(error))

    count = 0
    for count, value in enumerate(values, start=1):
        at = partition(count - 1) if partition is not None else -1
        while True:
            try:
                producer.produce(topic, value, key(count - 1), at, delivered, headers=list(headers or []))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(_DEADLINE)
    if left or failed:
        message = f"{left} records of {count} not delivered to {topic}; errors: {failed[:3]}"
        raise AssertionError(message)
    return count


def produce_raw(bootstrap: str, topic: str, value: bytes, headers: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Write a record whose headers have names of any bytes: by librdkafka itself, for its Python client takes text."""
    (path,) = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka-*.so*")
    client = ctypes.CDLL(str(path))
    for function in (client.rd_kafka_conf_new, client.rd_kafka_new):
        function.restype = ctypes.c_void_p
    error = ctypes.create_string_buffer(512)
    settings = ctypes.c_void_p(client.rd_kafka_conf_new())
    assert client.rd_kafka_conf_set(settings, b"bootstrap.servers", bootstrap.encode(), error, 512) == 0
    producer = ctypes.c_void_p(client.rd_kafka_new(0, settings, error, ctypes.c_size_t(512)))
    # rd_kafka_vtype_t: a topic is 1, a value 4, flags 7 (2: copy it), a header 9, and 0 the end.
    record: list[Any] = [
        1,
        ctypes.c_char_p(topic.encode()),
        7,
        2,
        4,
        ctypes.c_char_p(value),
        ctypes.c_size_t(len(value)),
    ]
    for name, data in headers:
        record += [9, ctypes.c_char_p(name), ctypes.c_char_p(data), ctypes.c_ssize_t(len(data or b""))]
    assert client.rd_kafka_producev(producer, *record, 0) == 0
    assert client.rd_kafka_flush(producer, round(_DEADLINE * 1000)) == 0
    client.rd_kafka_destroy(producer)


def read_topic(bootstrap: str, topic: str, *, timeout: float = _DEADLINE, committed_only: bool = True) -> list[Stored]:
    """Return all records of a topic, from its beginning to where it ends at the moment of the call."""
    ends = end_offsets(bootstrap, topic)
    settings: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap,
        "group.id": "read-topic",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,
        "isolation.level": "read_committed" if committed_only else "read_uncommitted",
    }
    consumer = Consumer(settings)
    open_ends = {partition: end for partition, end in ends.items() if end > 0}
    records: list[Stored] = []
    deadline = time.monotonic() + timeout
    try:
        starts = []
        for partition in open_ends:  # an explicit offset: looking up "beginning" costs librdkafka half a second
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            starts.append(TopicPartition(topic, partition, low))
        consumer.assign(starts)
        while open_ends:
            first = consumer.poll(0.1)  # consume() alone would wait for all of its thousand
            for message in [first, *consumer.consume(1000, 0)] if first is not None else []:
                partition, offset = message.partition() or 0, message.offset() or 0
                error = message.error()
                if error is None:
                    records.append(_stored(message))
                elif not _is_eof(message):
                    raise KafkaException(error)
                if offset >= open_ends.get(partition, -1) - (error is None):
                    open_ends.pop(partition, None)
            if time.monotonic() > deadline:
                message_text = f"{topic} not read to its end within {timeout:g} s, left: {open_ends}"
                raise AssertionError(message_text)
    finally:
        consumer.close()
    return sorted(records, key=lambda record: (record.partition, record.offset))


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Return where each partition of a topic ends; a new topic's leaders may not know of it yet."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + _DEADLINE
    while True:
        asked = admin.list_offsets({TopicPartition(topic, partition): latest for partition in partitions})
        try:
            return {at.partition: future.result(_DEADLINE).offset for at, future in asked.items()}
        except KafkaException as error:
            if error.args[0].name() != "NOT_LEADER_FOR_PARTITION" or time.monotonic() > deadline:
                raise


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Return the group's committed offset of each partition of ``topic`` that has one.

    Asked by a consumer that never joins: the admin client's call takes the process down (SIGSEGV in
    librdkafka 2.16.0) when the coordinator answers that it has just moved or started.
    """
    asker = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0})
    deadline = time.monotonic() + _DEADLINE
    try:
        while True:
            try:
                partitions = asker.list_topics(topic, timeout=5).topics[topic].partitions
                found = asker.committed([TopicPartition(topic, partition) for partition in partitions], timeout=5)
                return {at.partition: at.offset for at in found if at.offset >= 0}
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
    finally:
        asker.close()


def lag(bootstrap: str, group: str, topic: str) -> int:
    """Return how many records of ``topic`` the group has not committed."""
    done = committed(bootstrap, group, topic)
    return sum(end - done.get(partition, 0) for partition, end in end_offsets(bootstrap, topic).items())


def _stored(message: Message) -> Stored:
    return Stored(
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key(),
        value=message.value(),
        headers=tuple((name, _bytes(value)) for name, value in _pairs(message)),
    )


def _pairs(message: Message) -> Iterable[tuple[str, str | bytes | None]]:
    headers = message.headers() or ()
    return headers.items() if isinstance(headers, dict) else headers


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _is_eof(message: Message) -> bool:
    error = message.error()
    return error is not None and error.name() == "_PARTITION_EOF"


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        time.sleep(0.02)
