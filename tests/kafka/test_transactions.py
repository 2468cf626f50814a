"""The transactional producer against a broker that stands still, and comes back."""

import threading
import time
from collections.abc import Callable
from typing import ClassVar, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from supervisor.kafka import transactions
from supervisor.kafka.settings import Settings
from supervisor.kafka.transactions import AbortedError, FatalError, TransactionalProducer
from supervisor.plugin.types import Produce
from tests.broker.real import RealBroker
from tests.broker.records import Stored, committed, create_topic, read_topic
from tests.waiting import wait_until

SETTLED = 60.0


def _producer(broker: RealBroker, name: str, *, timeout: float) -> TransactionalProducer:
    settings: Settings = {
        "bootstrap.servers": broker.bootstrap,
        "transactional.id": name,
        "transaction.timeout.ms": 30000,
        "log_level": 0,
    }
    producer = TransactionalProducer(settings, timeout=timeout)
    producer.start(20.0)
    return producer


@pytest.mark.leaks("delivery reports that nobody serves keep their client")
@pytest.mark.parametrize("stage", ["flush", "send_offsets_to_transaction", "commit_transaction"])
def test_a_broker_that_stands_still_in_any_stage_costs_no_more_than_the_producer(
    own_broker: RealBroker, name: str, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """What was tried is visible once, and the next transaction works: with this producer, or with the next."""
    monkeypatch.setattr(transactions, "CALL", 0.5)
    create_topic(own_broker.bootstrap, name)
    producer = _producer(own_broker, name, timeout=1.5)
    client = Consumer({"bootstrap.servers": own_broker.bootstrap, "group.id": name, "log_level": 0})
    metadata = client.consumer_group_metadata()
    place = (name, 0)

    def attempt(value: bytes) -> None:
        producer.run([(None, Produce(name, value=value, partition=0))], [(place, 1)], metadata)

    attempt(b"0")
    real = producer._producer
    freezing = producer._producer = cast("Producer", _FreezeBefore(real, stage, own_broker.freeze))
    outcome: object = None
    try:
        attempt(b"1")
    except (AbortedError, FatalError) as error:
        outcome = error
    if producer._producer is freezing:
        producer._producer = real
    own_broker.thaw()

    done = isinstance(outcome, FatalError)
    deadline = time.monotonic() + SETTLED
    if done:
        producer = _producer(own_broker, name, timeout=1.5)
    while True:
        try:
            attempt(b"2")
            break
        except AbortedError as error:
            if time.monotonic() > deadline:
                pytest.fail(f"never again: {outcome}, then {error}")
            threading.Event().wait(0.3)
        except FatalError:
            producer = _producer(own_broker, name, timeout=1.5)
    client.close()
    values = [one.value for one in _read(own_broker, name)]
    assert values in ([b"0", b"2"], [b"0", b"1", b"2"])


@pytest.mark.leaks("a client that waits for a coordinator without end is left to itself")
@pytest.mark.parametrize("meanwhile", [True, False])
def test_p3_a_coordinator_that_was_away_is_found_again(
    own_broker: RealBroker, name: str, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    """Whether there was a transaction while it was away or not, there is one soon after it is back."""
    monkeypatch.setattr(transactions, "CALL", 1.0)
    create_topic(own_broker.bootstrap, name)
    producer = _producer(own_broker, name, timeout=3.0)
    client = Consumer({"bootstrap.servers": own_broker.bootstrap, "group.id": name, "log_level": 0})
    metadata = client.consumer_group_metadata()

    def commit(offset: int) -> None:
        producer.run([], [((name, 0), offset)], metadata)

    commit(1)
    own_broker.stop()
    if meanwhile:
        with pytest.raises(AbortedError):
            commit(2)
    threading.Event().wait(4.0)  # the client asks again who is there, and nobody is
    own_broker.start()

    deadline = time.monotonic() + 30.0
    while True:
        try:
            commit(2)
            break
        except AbortedError:
            assert time.monotonic() < deadline
            threading.Event().wait(0.3)
    client.close()
    assert committed(own_broker.bootstrap, name, name) == {0: 2}


class _Stuck:
    """A client that finds no coordinator; until it is let go, or for ever."""

    made: ClassVar[list["_Stuck"]] = []

    def __init__(self, *_: object, **__: object) -> None:
        self.free = threading.Event()
        self.made.append(self)

    def __getattr__(self, _name: str) -> Callable[..., int]:
        return lambda *_: 0

    def send_offsets_to_transaction(self, *_: object) -> None:
        self.free.wait(30)
        raise KafkaException(KafkaError(KafkaError._FENCED))


def test_clients_that_find_no_coordinator_are_replaced_by_a_new_process_before_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "CALL", 0.01)
    monkeypatch.setattr(transactions, "BEYOND", 0.01)
    monkeypatch.setattr(transactions, "Producer", _Stuck)
    monkeypatch.setattr(_Stuck, "made", [])
    producer = TransactionalProducer({}, timeout=1.0)

    def attempt() -> None:
        producer.run([], [(("t", 0), 1)], None)

    for _ in range(transactions.MOST_STUCK):
        with pytest.raises(AbortedError, match="_WAIT_COORD"):
            attempt()
    _Stuck.made[0].free.set()
    wait_until(lambda: not producer._stuck[0].is_alive(), 10)
    with pytest.raises(AbortedError, match="_WAIT_COORD"):
        attempt()

    with pytest.raises(FatalError, match="_WAIT_COORD"):
        attempt()
    assert len(_Stuck.made) == transactions.MOST_STUCK + 2
    for one in _Stuck.made:
        one.free.set()


def _read(broker: RealBroker, name: str) -> list[Stored]:
    """Read a topic whose leader may have just been elected again."""
    deadline = time.monotonic() + SETTLED
    while True:
        try:
            return read_topic(broker.bootstrap, name)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.2)


class _FreezeBefore:
    """A producer whose broker freezes just before the first call of one method."""

    def __init__(self, producer: object, method: str, freeze: Callable[[], None]) -> None:
        self._producer = producer
        self._method = method
        self._freeze: Callable[[], None] | None = freeze

    def __getattr__(self, name: str) -> object:
        if name == self._method and self._freeze is not None:
            freeze, self._freeze = self._freeze, None
            freeze()
        return getattr(self._producer, name)
