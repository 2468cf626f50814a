"""What the demo does with Kafka itself: produce, read a topic to its end, ask for committed offsets."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies in a topic. Header values are decoded: the demo writes and reads text only."""

    topic: str
    partition: int
    offset: int
    key: str
    value: str
    headers: tuple[tuple[str, str], ...]


class DemoClient:
    """A small client of one broker. Blocks, each call at most ``DEADLINE`` seconds; raises ``TimeoutError`` then."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._settings: dict[str, str | int | float | bool] = {
            "bootstrap.servers": bootstrap_servers,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
        self._producer = Producer({**self._settings, "linger.ms": 5})
        self._admin = AdminClient(self._settings)

    def produce(self, topic: str, partition: int, records: Sequence[tuple[str, str]]) -> list[int]:
        """Write ``records`` (key, value) to one partition and return their offsets, confirmed by the broker."""
        offsets: list[int] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets.append(_number(message.offset()))

        for key, value in records:
            self._producer.produce(topic, value.encode(), key.encode(), partition, on_delivery=delivered)
            self._producer.poll(0)
        self._producer.flush(DEADLINE)
        if len(offsets) < len(records):
            message = f"the broker confirmed {len(offsets)} of {len(records)} records in {DEADLINE:.0f} s"
            raise TimeoutError(message)
        return sorted(offsets)

    def read(self, topic: str, partitions: int) -> list[Stored]:
        """Return everything that lies in ``topic``, read from the start without a group."""
        consumer = Consumer({**self._settings, "group.id": "demo-reader", "enable.auto.commit": False})
        found: list[Stored] = []
        try:
            ends = {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=DEADLINE)
                for number in range(partitions)
            }
            wanted = {number: span for number, span in ends.items() if span[0] < span[1]}
            consumer.assign([TopicPartition(topic, number, span[0]) for number, span in wanted.items()])
            missing = sum(high - low for low, high in wanted.values())
            deadline = time.monotonic() + DEADLINE
            while len(found) < missing:
                if time.monotonic() > deadline:
                    message = f"read {len(found)} of {missing} records of {topic} in {DEADLINE:.0f} s"
                    raise TimeoutError(message)
                message_ = consumer.poll(0.2)
                if message_ is not None and message_.error() is None:
                    found.append(_stored(message_))
        finally:
            consumer.close()
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def committed(self, group: str, topic: str, partitions: int) -> dict[int, int]:
        """Return the group's committed offsets by partition, as the broker has them; absent where there are none."""
        asked = [TopicPartition(topic, number) for number in range(partitions)]
        try:
            futures = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])
            answer = futures[group].result(DEADLINE)
        except KafkaException as error:
            message = f"no committed offsets of {group}: {error}"
            raise TimeoutError(message) from error
        return {part.partition: part.offset for part in answer.topic_partitions if part.offset >= 0}


def _stored(message: Message) -> Stored:
    headers: list[tuple[str, bytes | None]] = message.headers() or []  # type: ignore[assignment]
    return Stored(
        topic=message.topic() or "",
        partition=_number(message.partition()),
        offset=_number(message.offset()),
        key=_text(message.key()),
        value=_text(message.value()),
        headers=tuple((name, _text(value)) for name, value in headers),
    )


def _number(value: int | None) -> int:
    return -1 if value is None else value


def _text(raw: str | bytes | None) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""
