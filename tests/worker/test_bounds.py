"""P6: what is held is bounded by count and bytes whatever it waits for, and nothing waits for room that cannot come."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from supervisor.core.spec import BatchSpec
from supervisor.plugin import Produce, Record
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

OTHER = ("t", 1)
LARGE = bytes(100_000)
WAYS = pytest.mark.parametrize("way", ["runs", "lanes", "tasks"])
"""How batches are worked: in the thread that polls, by threads or, of an ``async`` handler, by tasks from lanes."""


@contextmanager
def _in_batches(way: str, cluster: FakeCluster, seen: list[int], **changes: Any) -> Iterator[InProcess]:
    def process_batch(records: Sequence[Record]) -> None:
        seen.append(len(records))

    async def process_batch_async(records: Sequence[Record]) -> None:
        seen.append(len(records))

    handler = process_batch_async if way == "tasks" else process_batch
    with InProcess(cluster, process_batch=handler, **changes) as worker:
        worker.engine.mean = 1.0 if way == "lanes" else 0.0
        yield worker


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


@WAYS
def test_p6_a_batch_that_there_is_no_room_to_fill_is_worked_as_it_is(way: str) -> None:
    """Its age may be an hour, and nothing could come any more."""
    cluster = FakeCluster()
    for at in range(12):
        cluster.add((PLACE, OTHER)[at % 2], b"v")
    seen: list[int] = []

    with _in_batches(way, cluster, seen, queue_records=10, batch=BatchSpec(10, 60.0)) as worker:
        worker.source.assign(PLACE, OTHER)

        worker.until(lambda: sum(seen) >= 10)


@WAYS
def test_p6_records_that_wait_for_a_whole_batch_are_bounded_by_their_bytes(way: str) -> None:
    cluster = FakeCluster()
    for _ in range(50):
        cluster.add(PLACE, LARGE)
    seen: list[int] = []

    with _in_batches(way, cluster, seen, queue_bytes=1_000_000, batch=BatchSpec(100, 60.0)) as worker:
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


@WAYS
def test_a_batch_of_a_partition_that_is_held_back_is_worked_as_it_is(way: str) -> None:
    """With ``batch.size`` above ``max_gap`` it would wait out its age each time."""
    cluster = FakeCluster()
    for _ in range(40):
        cluster.add(PLACE, b"v")

    with _in_batches(way, cluster, [], max_gap=10, batch=BatchSpec(50, 60.0)) as worker:
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE, 0) >= 20)
