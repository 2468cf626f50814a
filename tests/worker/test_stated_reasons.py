"""A worker that waits for a reason says which, and is judged neither hung nor unhealthy, however long it takes.

The parent's own rule looks at the real worker's board, with limits of a second and a half instead of thirty.
"""

import time

import pytest
from confluent_kafka import Producer

from supervisor.core.backoff import Backoff
from supervisor.core.board import Wait
from supervisor.core.progress import Limits, Progress, look
from supervisor.core.spec import BreakerSpec, DeadLetterSpec, FloodSpec, GroupSpec, Ordering, RetrySpec
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.conftest import Scale
from tests.waiting import wait_until
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import DirectWorker, group_spec

LIMITS = Limits(handler_timeout=60.0, tick_timeout=1.5, revoke_timeout=1.5, idle_timeout=1.5, stall_timeout=1.5)
AN_HOUR = RetrySpec(3, Backoff(3600.0, 1.0, 3600.0, 0.0))


def watch(worker: DirectWorker, wait: Wait, seconds: float) -> None:
    """Look at the worker's board as the parent does, until it has stated ``wait`` for so long; fail on any doubt."""
    worker.wait(lambda: worker.board is not None and worker.board.wait is wait)
    seen: Progress | None = None
    until = time.monotonic() + seconds

    def over() -> bool:
        nonlocal seen
        board = worker.board
        assert board is not None
        assert board.wait is wait, worker.log_tail()
        seen, verdict = look(seen, board, LIMITS, now=time.monotonic())
        assert (verdict.hung, verdict.healthy) == ("", True)
        assert worker.process.poll() is None, worker.log_tail()
        return time.monotonic() > until

    wait_until(over, seconds + 10, every=0.2)


@pytest.fixture
def seconds(scale: Scale) -> float:
    """How long each reason lasts: longer than every limit, in a long run by far."""
    return scale.pick(4.0, 150.0)


def test_a_broker_that_is_away(own_broker: RealBroker, name: str, start: Start, seconds: float) -> None:
    create_topic(own_broker.bootstrap, name, partitions=2)
    produce(own_broker.bootstrap, name, ["good"] * 10)
    worker = start(group_spec(own_broker.bootstrap, name, (name,), "handlers:ok"))
    worker.wait(lambda: worker.stats.get("settled") == 10)

    own_broker.stop()

    watch(worker, Wait.BROKER, seconds)


def test_a_retry_in_an_hour(broker: RealBroker, name: str, start: Start, seconds: float) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise", "good", "good"])
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:by_value", retry=AN_HOUR))

    watch(worker, Wait.RETRY, seconds)


def test_every_partition_paused_behind_a_retry_in_an_hour(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, seconds: float
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise"] + ["good"] * 500)
    group = group_spec(
        broker.bootstrap, name, (name,), "handlers:by_value", retry=AN_HOUR, ordering=Ordering.NONE, max_gap=100
    )
    worker = start(group)
    worker.wait(lambda: len(ledger.of()) >= 50)

    watch(worker, Wait.RETRY, seconds)
    assert len(ledger.of()) < 200, "it is paused"


def one_letter_for(sink: str, broker: RealBroker, name: str) -> GroupSpec:
    """Return a group with a record that is a dead letter at once."""
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise", "good"])
    return group_spec(
        broker.bootstrap,
        name,
        (name,),
        "handlers:by_value",
        retry=RetrySpec(1, Backoff(0.05, 1.0, 0.05, 0.0)),
        dead_letters=DeadLetterSpec(sink, "", "", 3600.0),
        sinks=(sink,),
    )


def test_a_sink_that_takes_nothing(broker: RealBroker, name: str, start: Start, seconds: float) -> None:
    worker = start(one_letter_for("handlers:Silent", broker, name))

    watch(worker, Wait.SINK, seconds)


def test_a_sink_that_refuses_and_is_asked_again_later(broker: RealBroker, name: str, start: Start) -> None:
    worker = start(one_letter_for("handlers:Full", broker, name))

    worker.wait(lambda: worker.board is not None and worker.board.wait is Wait.SINK)
    worker.wait(lambda: worker.stats.get("waits") == "sink")


def test_an_open_breaker(broker: RealBroker, name: str, start: Start, seconds: float) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["down"] + ["good"] * 500)
    breaker = BreakerSpec(probe=AN_HOUR.backoff)
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:by_value", breaker=breaker))

    watch(worker, Wait.BREAKER, seconds)


def test_a_flood_of_dead_letters_that_holds(broker: RealBroker, name: str, start: Start, seconds: float) -> None:
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.dlq")
    produce(broker.bootstrap, name, ["raise"] * 50)
    worker = start(
        group_spec(
            broker.bootstrap,
            name,
            (name,),
            "handlers:by_value",
            retry=RetrySpec(1, Backoff(0.05, 1.0, 0.05, 0.0)),
            flood=FloodSpec(consecutive=5),
        )
    )

    watch(worker, Wait.FLOOD, seconds)


def test_all_that_an_operator_paused(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, seconds: float
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok"))
    worker.wait(lambda: len(worker.owned) == 2)
    worker.send("pause", on=True)
    worker.wait(lambda: worker.stats.get("paused"))
    produce(broker.bootstrap, name, ["good"] * 500)

    watch(worker, Wait.PAUSED, seconds)
    assert not ledger.of()


def test_a_member_for_whom_there_is_no_partition(broker: RealBroker, name: str, start: Start, seconds: float) -> None:
    create_topic(broker.bootstrap, name)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok")
    first = start(group)
    first.wait(lambda: len(first.owned) == 1)

    watch(start(group, slot=1), Wait.UNASSIGNED, seconds)


def test_a_partition_whose_offset_is_gone_and_that_waits_for_an_operator(
    broker: RealBroker, name: str, start: Start, seconds: float
) -> None:
    create_topic(broker.bootstrap, name)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok", kafka={"auto.offset.reset": "error"})

    watch(start(group), Wait.STOPPED, seconds)


def test_a_strangers_open_transaction(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, seconds: float
) -> None:
    """Readers of what is committed stop at the last stable offset, for as long as the stranger likes."""
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good"] * 5)
    patient = {"transaction.timeout.ms": 900_000}  # the brokers abort it then
    stranger = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name, "log_level": 0} | patient)
    stranger.init_transactions(20)
    stranger.begin_transaction()
    stranger.produce(name, "open", partition=0)
    stranger.flush(10)
    produce(broker.bootstrap, name, ["good"] * 5)
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok"))
    worker.wait(lambda: len(ledger.of()) == 5)

    watch(worker, Wait.EOF, seconds)
    assert len(ledger.of()) == 5
    stranger.commit_transaction(20)
    worker.wait(lambda: len(ledger.of()) == 11)


def test_the_end_of_a_transactional_topic(broker: RealBroker, name: str, start: Start, seconds: float) -> None:
    """Behind the last record there is one more, of control, that is never delivered."""
    create_topic(broker.bootstrap, name)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(name, "good", partition=0)
    producer.commit_transaction(20)
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok"))
    worker.wait(lambda: worker.stats.get("settled") == 1)

    watch(worker, Wait.EOF, seconds)
