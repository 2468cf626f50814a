"""P6: what is held is bounded by count and bytes whatever it waits for, and nothing waits for room that cannot come."""

import threading
from collections.abc import Sequence

import pytest

from supervisor.core.spec import BatchSpec
from supervisor.plugin import Produce, Record
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

OTHER = ("t", 1)
LARGE = bytes(100_000)


def test_p6_records_with_unconfirmed_outputs_count_with_all_the_bytes_that_they_keep() -> None:
    cluster = FakeCluster()
    for _ in range(60):
        cluster.add(PLACE, LARGE)
    most = 0

    def process(_record: Record) -> Produce:
        nonlocal most
        most = max(most, len(worker.outputs.sent) + 1 - confirmed)
        return Produce("out", value=b"small")

    confirmed = 0
    with InProcess(cluster, process, queue_bytes=1_000_000) as worker:
        worker.source.chunk = lambda limit: min(limit, 5)
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) >= 3)
        while cluster.committed.get(PLACE) != 60:
            threading.Event().wait(0.02)
            while confirmed < len(worker.outputs.sent):
                worker.outputs.confirm(confirmed)
                confirmed += 1
            worker.until(lambda: True)

    assert most <= 30


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_p6_a_batch_that_there_is_no_room_to_fill_is_worked_as_it_is(mean: float) -> None:
    """Its age may be an hour, and nothing could come any more."""
    cluster = FakeCluster()
    for at in range(12):
        cluster.add((PLACE, OTHER)[at % 2], b"v")
    seen: list[int] = []

    def process_batch(records: Sequence[Record]) -> None:
        seen.append(len(records))

    batch = BatchSpec(10, 60.0)
    with InProcess(cluster, process_batch=process_batch, queue_records=10, batch=batch) as worker:
        worker.engine.mean = mean
        worker.source.assign(PLACE, OTHER)

        worker.until(lambda: sum(seen) >= 10)


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_p6_records_that_wait_for_a_whole_batch_are_bounded_by_their_bytes(mean: float) -> None:
    cluster = FakeCluster()
    for _ in range(50):
        cluster.add(PLACE, LARGE)
    seen: list[int] = []

    def process_batch(records: Sequence[Record]) -> None:
        seen.append(len(records))

    with InProcess(cluster, process_batch=process_batch, queue_bytes=1_000_000, batch=BatchSpec(100, 60.0)) as worker:
        worker.engine.mean = mean
        worker.source.chunk = lambda limit: min(limit, 5)
        worker.source.assign(PLACE)

        worker.until(lambda: sum(seen) >= 20)
        assert max(seen) <= 30


def test_p3_the_gap_behind_an_unconfirmed_output_stays_under_its_bound_from_the_first_chunk_on() -> None:
    cluster = FakeCluster()
    for _ in range(20):
        cluster.add(PLACE, b"v")

    def process(record: Record) -> Produce | None:
        seen.append(record.offset)
        return Produce("out", value=b"") if record.offset == 0 else None

    seen: list[int] = []
    with InProcess(cluster, process, max_gap=8) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.paused == {PLACE})

        assert len(seen) <= 8
        worker.outputs.confirm(0)
        worker.until(lambda: cluster.committed.get(PLACE) == 20)


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_a_batch_of_a_partition_that_is_held_back_is_worked_as_it_is(mean: float) -> None:
    """With ``batch.size`` above ``max_gap`` it would wait out its age each time."""
    cluster = FakeCluster()
    for _ in range(40):
        cluster.add(PLACE, b"v")
    batch = BatchSpec(50, 60.0)
    with InProcess(cluster, process_batch=lambda _records: None, max_gap=10, batch=batch) as worker:
        worker.engine.mean = mean
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE, 0) >= 20)
