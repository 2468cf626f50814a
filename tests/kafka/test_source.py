"""A worker's consumer on the embedded broker."""

import pytest
from confluent_kafka import Producer, TopicPartition

from supervisor.kafka.consumer import Source
from supervisor.kafka.embedded import EmbeddedBroker
from tests.waiting import wait_until

PLACE = ("orders", 0)


class Quiet:
    """A ``Listener`` that only remembers."""

    def __init__(self) -> None:
        self.owned: set[tuple[str, int]] = set()

    def assigned(self, places: object) -> None:
        self.owned |= set(places)  # type: ignore[call-overload]

    def revoked(self, places: object) -> None: ...
    def lost(self, places: object) -> None: ...
    def committed(self, results: object) -> None: ...
    def client_error(self, code: str, text: str) -> None: ...
    def crashed(self, error: BaseException) -> None: ...


def read(source: Source, seen: list[int | None]) -> int:
    seen += [message.offset() for message in source.poll(0.2, 10) if message.value() is not None]
    return len(seen)


@pytest.mark.parametrize("is_half_done", [False, True])
def test_a_move_puts_a_partition_where_it_is_told_to_also_after_one_that_failed_in_the_middle(
    *, is_half_done: bool
) -> None:
    with EmbeddedBroker({"orders": 2}) as broker:
        producer = Producer(broker.settings)
        for value in "abc":
            producer.produce("orders", value, partition=0)
        assert producer.flush(10) == 0
        settings = {**broker.settings, "group.id": "g", "group.protocol": "consumer", "auto.offset.reset": "earliest"}
        listener = Quiet()
        source = Source(settings, ["orders"], listener)
        try:
            seen: list[int | None] = []
            wait_until(lambda: read(source, seen) == 3, 20)
            if is_half_done:
                source._consumer.incremental_unassign([TopicPartition(*PLACE)])

            source.move({PLACE: 1})

            wait_until(lambda: read(source, seen) == 5, 20)
            assert seen == [0, 1, 2, 1, 2]
            assert listener.owned == {PLACE, ("orders", 1)}
        finally:
            source.close()
