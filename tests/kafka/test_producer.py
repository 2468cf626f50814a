"""The worker's producer: every future ends once, whatever happens around it."""

from concurrent.futures import CancelledError, Future
from random import Random

import pytest

from supervisor.kafka.producer import LazyProducer, ProduceError
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, read_topic


def _producer(broker: RealBroker, **changes: str | int) -> LazyProducer:
    return LazyProducer(
        {"bootstrap.servers": broker.bootstrap, "message.timeout.ms": 10_000, "log_level": 0, **changes}
    )


def test_a_future_that_somebody_gave_up_on_does_not_cost_the_others_their_answers(
    broker: RealBroker, name: str
) -> None:
    create_topic(broker.bootstrap, name)
    producer = _producer(broker)

    def exits(_future: "Future[None]") -> None:
        raise SystemExit

    first = producer(name, b"first")
    first.cancel()
    first.add_done_callback(exits)
    second = producer(name, b"second")
    third = producer(name, b"third")

    assert first.result(10) is None
    assert second.result(10) is None
    assert third.result(10) is None
    assert not isinstance(first.exception(), CancelledError)
    producer.close(5.0)
    assert [one.value for one in read_topic(broker.bootstrap, name)] == [b"first", b"second", b"third"]


def test_a_record_that_is_refused_at_once_leaves_those_under_way_alone(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    producer = _producer(broker, **{"linger.ms": 500, "message.max.bytes": 1000})

    under_way = producer(name, b"good")
    with pytest.raises(ProduceError, match="MSG_SIZE_TOO_LARGE"):
        producer(name, b"x" * 2000)

    assert under_way.result(10) is None
    producer.close(5.0)


def test_what_is_refused_for_a_neighbour_of_its_batch_is_written_alone(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, config={"max.message.bytes": "2000"})
    producer = _producer(broker, **{"linger.ms": 200})
    values = [bytes([65 + at]) * 900 for at in range(4)]

    sent = [producer(name, value) for value in (*values, Random(1).randbytes(3000))]

    assert [future.result(10) for future in sent[:-1]] == [None] * 4
    with pytest.raises(ProduceError, match="MSG_SIZE_TOO_LARGE"):
        sent[-1].result(10)
    producer.close(5.0)
    assert sorted(one.value or b"" for one in read_topic(broker.bootstrap, name)) == values


def test_what_its_topic_takes_only_compressed_is_written_compressed(broker: RealBroker, name: str) -> None:
    """As records that their producers compressed: read, they are larger than the topic that they are from takes."""
    create_topic(broker.bootstrap, name, config={"max.message.bytes": "2000"})
    producer = _producer(broker)

    sent = producer(name, b"x" * 100_000)

    assert sent.result(10) is None
    producer.close(5.0)
    assert [len(one.value or b"") for one in read_topic(broker.bootstrap, name)] == [100_000]
