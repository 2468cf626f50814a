"""What the worker promises of its client's corners, each on a real broker (P1, P3, P6, P8)."""

import time
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

from supervisor.core.exits import ExitCode
from supervisor.kafka.consumer import Place, Source
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, lag, produce
from tests.waiting import wait_until
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec


def write_transactions(bootstrap: str, topic: str, fates: list[str]) -> int:
    """Write ten records per transaction and commit or abort it; return how many records count."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(20)
    for fate in fates:
        producer.begin_transaction()
        for number in range(10):
            producer.produce(topic, fate, partition=number % 2)
        producer.flush(10)
        if fate == "good":
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    return 10 * fates.count("good")


@pytest.mark.parametrize("fates", [["good", "good"], ["good", "aborted"], ["aborted", "good"], ["aborted"]])
def test_p1_lag_reaches_zero_at_the_end_of_a_transactional_topic(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, fates: list[str]
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    counts = write_transactions(broker.bootstrap, name, fates)
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok"))

    if counts:
        worker.wait(lambda: lag(broker.bootstrap, name, name) == 0)
        assert committed(broker.bootstrap, name, name) == end_offsets(broker.bootstrap, name)
    worker.wait(lambda: worker.stats.get("lag") == 0)
    assert len(ledger.of()) == counts, "what was aborted is not worked"


class Quiet:
    """A listener that only keeps what it owns."""

    def __init__(self) -> None:
        self.owned: list[Place] = []

    def assigned(self, places: Sequence[Place]) -> None:
        self.owned += places

    def revoked(self, places: Sequence[Place]) -> None: ...
    def lost(self, places: Sequence[Place]) -> None: ...
    def committed(self, results: Sequence[tuple[Place, int, str | None]]) -> None: ...
    def client_error(self, code: str, text: str) -> None: ...

    def crashed(self, error: BaseException) -> None:
        raise error


def test_p6_a_paused_partition_is_read_again_at_once(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    listener = Quiet()
    settings: dict[str, str | int | float | bool] = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": name,
        "auto.offset.reset": "earliest",
    }
    source = Source(settings, [name], listener)
    ours: list[float] = []
    bare: list[float] = []
    try:
        produce(broker.bootstrap, name, ["a"])
        wait_until(lambda: source.poll(0.1, 1), 20)
        for offset in range(1, 11):
            source.pause([(name, 0)])
            produce(broker.bootstrap, name, ["a"])
            assert source.poll(0.3, 10) == []
            began = time.monotonic()
            source.resume([((name, 0), offset if offset % 2 else None)])
            wait_until(lambda: source.poll(0.05, 10), 10, every=0)
            (ours if offset % 2 else bare).append(time.monotonic() - began)
    finally:
        source.close()

    # A seek wakes the fetcher: 3 to 14 ms against 190 to 700. The best of five, on however busy a machine.
    assert min(ours) < min(bare) / 2


def test_p3_p6_a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["sleep:0.01"] * 600, partition=lambda at: at % 2)
    group = group_spec(
        broker.bootstrap, name, (name,), "handlers:by_value", queue_records=20, kafka={"heartbeat.interval.ms": 300}
    )
    first = start(group)
    first.wait(lambda: len(ledger.places()) > 20)
    second = start(group, slot=1)
    second.wait(lambda: len(second.owned) == 1 and len(first.owned) == 1, timeout=30)
    first.wait(lambda: lag(broker.bootstrap, name, name) == 0, timeout=40)

    assert second.stop("leave") == 0
    first.wait(lambda: len(first.owned) == 2)
    produce(broker.bootstrap, name, ["good"] * 20, partition=lambda at: at % 2)  # nothing holds back now

    first.wait(lambda: lag(broker.bootstrap, name, name) == 0)
    assert [ledger.offsets(partition) for partition in range(2)] == [list(range(310))] * 2, "once each, in order"


def test_p8_a_fatal_error_of_the_client_ends_the_worker_with_its_own_code(
    broker: RealBroker, name: str, start: Start
) -> None:
    create_topic(broker.bootstrap, name)
    kafka = {"group.remote.assignor": "no-such-assignor"}

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok", protocol="consumer", kafka=kafka))
    worker.wait(lambda: worker.process.poll() is not None)

    assert worker.process.returncode == ExitCode.KAFKA_FATAL
    assert "assignor" in worker.of_type("bye")[-1]["reason"]
