"""Questions to the broker about offsets, by a client that is any thread's own for as long as it asks."""

from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

Place = tuple[str, int]


class AskError(Exception):
    """The broker did not answer a question, or the client refused it; its text is the error's name."""

    is_final = False
    """Whether asking again cannot help, whatever the text says."""


def committed(consumer: Consumer, places: Sequence[Place], timeout: float) -> dict[Place, tuple[int, str]]:
    """Ask for committed offsets (negative: none) and their metadata.

    Blocks for ``timeout`` seconds at most; raises ``AskError``. Partitions whose answer is an error are left out.
    Not the admin client's call: that one takes the process down when the coordinator has just moved.
    """
    try:
        found = consumer.committed([TopicPartition(*place) for place in places], timeout=timeout)
    except KafkaException as error:
        raise AskError(error.args[0].name()) from error
    return {(at.topic, at.partition): (at.offset, at.metadata or "") for at in found if at.error is None}


def bounds(consumer: Consumer, places: Sequence[Place], timeout: float) -> dict[Place, tuple[int, int]]:
    """Ask for the earliest offset and the end of partitions; as ``committed`` does, with two questions.

    The end is what the consumer's isolation level lets it read to.
    """
    earliest = _offsets(consumer, places, OFFSET_BEGINNING, timeout)
    latest = _offsets(consumer, places, OFFSET_END, timeout)
    return {place: (offset, latest[place]) for place, offset in earliest.items() if place in latest}


def _offsets(consumer: Consumer, places: Sequence[Place], which: int, timeout: float) -> dict[Place, int]:
    # The protocol's ListOffsets takes -2 and -1 for times, and librdkafka passes them on.
    try:
        found = consumer.offsets_for_times([TopicPartition(*place, which) for place in places], timeout=timeout)
    except KafkaException as error:
        raise AskError(error.args[0].name()) from error
    return {(at.topic, at.partition): at.offset for at in found if at.error is None and at.offset >= 0}
