"""Records whose value cannot be decoded, and those whose decoder waits for something, in real engines."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BreakerSpec, PluginSpec, RetrySpec
from supervisor.plugin import DeadLetter, DecodeError, DependencyDownError, Disposition, Drop, Failure, Letter, Record
from supervisor.plugin.types import Retry
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, lag, produce, read_topic
from tests.plugins.schema_registry import SchemaRegistry
from tests.plugins.test_decoders import serialized
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

BAD = (1, 4)
QUICK = BreakerSpec(probe=Backoff(initial=0.01, factor=2.0, max=0.03, jitter=0.0))


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    for at in range(8):
        cluster.add(PLACE, b"bad" if at in BAD else b"%d" % at)
    return cluster


def number(record: Record) -> int:
    return int(record.value or b"")


class Seen:
    """Handlers of each kind that keep what they saw."""

    def __init__(self) -> None:
        self.data: list[Any] = []

    def process(self, record: Record) -> None:
        self.data.append(record.data)

    async def process_async(self, record: Record) -> None:
        self.data.append(record.data)

    def process_batch(self, records: Sequence[Record]) -> None:
        self.data += [record.data for record in records]

    async def process_batch_async(self, records: Sequence[Record]) -> None:
        self.data += [record.data for record in records]


GOOD = [at for at in range(8) if at not in BAD]
KINDS = ("process", "process_async", "process_batch", "process_batch_async")


def keywords(seen: Seen, kind: str) -> dict[str, Any]:
    return {kind.removesuffix("_async"): getattr(seen, kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_an_undecodable_record_is_a_dead_letter_at_once_and_its_neighbours_are_worked(
    cluster: FakeCluster, kind: str
) -> None:
    seen, letters = Seen(), list[Letter]()

    with InProcess(cluster, **keywords(seen, kind), decode=number, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 8)

    assert sorted(seen.data) == GOOD
    assert [(letter.source_offset, letter.disposition, letter.value) for letter in letters] == [
        (at, Disposition.DESERIALIZATION, b"bad") for at in BAD
    ]
    if "batch" not in kind:  # what failed of a batch is looked at again alone
        assert {dict(letter.headers)["supervisor.dlq.attempts"] for letter in letters} == {b"1"}


def test_a_policy_is_asked_about_undecodable_records_and_may_drop_them(cluster: FakeCluster) -> None:
    failures: list[Failure] = []

    def drop(failure: Failure) -> Drop:
        failures.append(failure)
        return Drop("we know")

    with InProcess(cluster, Seen().process, decode=number, policy=drop) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 8)

    assert worker.engine.counters.dropped == 2
    assert [type(failure.error) for failure in failures] == [DecodeError, DecodeError]
    assert isinstance(failures[0].error.__cause__, ValueError)


def test_a_policy_may_have_them_tried_again_and_its_dead_letter_has_the_disposition(cluster: FakeCluster) -> None:
    letters: list[Letter] = []

    def twice(failure: Failure) -> Retry | DeadLetter:
        return Retry(0) if failure.attempt < 2 else DeadLetter("twice")

    with InProcess(cluster, Seen().process, decode=number, policy=twice, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 8)

    assert [letter.disposition for letter in letters] == [Disposition.DESERIALIZATION] * 2
    assert {dict(letter.headers)["supervisor.dlq.attempts"] for letter in letters} == {b"2"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_whose_dependency_is_down_makes_no_dead_letter(cluster: FakeCluster, kind: str) -> None:
    seen, letters, asked = Seen(), list[Letter](), list[int]()

    def decode(record: Record) -> int:
        asked.append(record.offset)
        if record.offset == 2 and asked.count(2) < 8:
            raise DependencyDownError(dependency="registry")
        return record.offset

    with InProcess(cluster, **keywords(seen, kind), decode=decode, sink=letters.append, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 8)

    assert sorted(seen.data) == list(range(8))
    assert letters == []


def test_a_decoder_that_may_wait_runs_beside_the_event_loop(cluster: FakeCluster) -> None:
    threads: dict[int, str] = {}

    def decode(record: Record) -> int:
        threads[record.offset] = threading.current_thread().name.split("_")[0]
        return record.offset

    with InProcess(
        cluster, Seen().process_async, decode=decode, decode_blocks=lambda record: record.offset < 3
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 8)

    assert threads == {at: "to-thread" if at < 3 else "handler-loop" for at in range(8)}


def test_a_batch_with_an_undecodable_record_keeps_the_outcomes_of_the_others(cluster: FakeCluster) -> None:
    letters: list[Letter] = []

    def all_but_one(records: Sequence[Record]) -> list[Exception | None]:
        return [ValueError("seven") if record.data == 7 else None for record in records]

    with InProcess(cluster, process_batch=all_but_one, decode=number, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 8)

    assert [(letter.source_offset, letter.disposition.value) for letter in letters] == [
        (1, "deserialization"),
        (4, "deserialization"),
        (7, "error"),
    ]


def test_what_is_wrong_with_a_batchs_answer_is_no_matter_of_its_undecodable_records(cluster: FakeCluster) -> None:
    letters: list[Letter] = []

    with InProcess(cluster, process_batch=lambda _records: [], decode=number, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 8)

    assert {letter.source_offset: letter.disposition.value for letter in letters} == {
        at: "deserialization" if at in BAD else "plugin-error" for at in range(8)
    }


# --- on a real broker --------------------------------------------------------------------------------------


def letters_of(broker: RealBroker, topic: str) -> dict[bytes | None, str]:
    """Return the dead letters' values and dispositions."""
    stored = read_topic(broker.bootstrap, f"{topic}.dlq")
    return {one.value: one.header["supervisor.dlq.disposition"] for one in stored}


def test_json_from_a_real_broker(broker: RealBroker, name: str, start: Start, ledger: Ledger) -> None:
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.dlq")
    produce(broker.bootstrap, name, [b'{"id": 1}', b"\xff{", b'{"id": 3}'])

    worker = start(
        group_spec(
            broker.bootstrap,
            name,
            (name,),
            "handlers:orders",
            plugins=[PluginSpec("decode_json")],
            decoder="decode_json",
        )
    )

    worker.wait(lambda: lag(broker.bootstrap, name, name) == 0)
    assert (ledger.offsets(0, "1"), ledger.offsets(0, "3")) == ([0], [2])
    assert letters_of(broker, name) == {b"\xff{": "deserialization"}
    assert "record.failed" in worker.log_tail()
    assert "xff" not in worker.log_tail(), "P10"


@pytest.mark.parametrize("handler", ["orders", "orders_async"])
def test_avro_from_a_real_broker_waits_for_its_registry(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, handler: str
) -> None:
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.dlq")
    with SchemaRegistry() as registry:
        values = [serialized(registry, "avro", 1), b"garbage", serialized(registry, "avro", 3)]
        produce(broker.bootstrap, name, values)
        registry.asked.clear()
        registry.refuse = 503
        decoder = PluginSpec("decode_avro", {"url": registry.url})

        worker = start(
            group_spec(
                broker.bootstrap,
                name,
                (name,),
                f"handlers:{handler}",
                plugins=[decoder],
                decoder="decode_avro",
                retry=RetrySpec(attempts=1, backoff=Backoff(0.05, 2.0, 1.0, 0.5)),
            )
        )
        worker.wait(lambda: len(registry.asked) >= 3)
        registry.refuse = None

        worker.wait(lambda: lag(broker.bootstrap, name, name) == 0)
        assert (ledger.offsets(0, "1"), ledger.offsets(0, "3")) == ([0], [2])
        assert letters_of(broker, name) == {b"garbage": "deserialization"}
        worker.stop()
