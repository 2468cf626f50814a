"""What a worker counts of its work, as its statistics tell it: every call once, whichever way it went."""

import asyncio
import time
from typing import Any

from supervisor.core.histogram import SECONDS
from supervisor.core.worker_stats import WorkerStats
from supervisor.plugin.types import DeadLetter, Disposition, Drop, Retry
from supervisor.worker.report import worker_stats
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess


def cluster(records: int) -> FakeCluster:
    made = FakeCluster()
    for number in range(records):
        made.add(PLACE, b"%d" % number)
    return made


def settled(worker: InProcess, records: int) -> WorkerStats:
    """Return the statistics once all is settled and every call was counted."""
    worker.source.assign(PLACE)

    def done() -> bool:
        stats = worker_stats(worker.engine)
        return stats.settled == records and sum(stats.handled.counts) >= records

    worker.until(done)
    return worker_stats(worker.engine)


def slower_than(stats: WorkerStats, seconds: float) -> int:
    """Return how many calls fell into buckets that begin at ``seconds`` or above."""
    return sum(count for count, bound in zip(stats.handled.counts, (0.0, *SECONDS), strict=True) if bound >= seconds)


def test_every_call_of_a_fast_handler_is_counted_once_with_the_mean_of_its_run() -> None:
    with InProcess(cluster(500), lambda _record: None) as worker:
        stats = settled(worker, 500)

    assert sum(stats.handled.counts) == stats.received == 500
    assert 0 < stats.handled.total < 60
    assert sum(stats.polled.counts) >= 1
    assert stats.polled.total == 500
    assert stats.batches.counts == () or not sum(stats.batches.counts)


def test_a_slow_record_among_fast_ones_is_seen_as_slow_and_they_as_fast() -> None:
    def process(record: Any) -> None:
        if record.value == b"100":
            time.sleep(0.6)

    with InProcess(cluster(200), process) as worker:
        stats = settled(worker, 200)

    assert sum(stats.handled.counts) == 200
    assert slower_than(stats, 0.25) == 1
    assert slower_than(stats, 0.05) <= 2, "the time before it was taken away is shared by the others"


def test_records_in_lanes_are_timed_one_by_one() -> None:
    with InProcess(cluster(30), lambda _record: time.sleep(0.006), concurrency=4, ordering="none") as worker:
        stats = settled(worker, 30)

    assert sum(stats.handled.counts) == 30
    assert slower_than(stats, 0.0025) >= 29


def test_async_handlers_are_timed_with_their_waits() -> None:
    async def process(_record: Any) -> None:
        await asyncio.sleep(0.03)

    with InProcess(cluster(20), process, concurrency=5, ordering="none") as worker:
        stats = settled(worker, 20)

    assert sum(stats.handled.counts) == 20
    assert slower_than(stats, 0.025) == 20


def test_batches_are_counted_by_their_size() -> None:
    with InProcess(cluster(1000), process_batch=lambda _records: None) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker_stats(worker.engine).settled == 1000)
        stats = worker_stats(worker.engine)

    assert stats.batches.total == 1000
    assert sum(stats.batches.counts) == sum(stats.handled.counts) > 0


def test_retries_letters_and_drops_are_counted_apart() -> None:
    def policy(failure: Any) -> object:
        if failure.attempt < 3:
            return Retry(after=0.0 if failure.attempt == 1 else 0.01)
        return Drop("old") if failure.record.value == b"0" else DeadLetter("bad", Disposition.DESERIALIZATION)

    def process(_record: Any) -> None:
        raise ValueError

    with InProcess(cluster(2), process, policy=policy) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker_stats(worker.engine).settled == 2)
        stats = worker_stats(worker.engine)

    assert (stats.retried, stats.failed_attempts, stats.dropped) == (4, 6, 1)
    assert stats.dead_lettered == 1


def test_rebalances_and_commits_are_counted() -> None:
    shared = cluster(5)
    with InProcess(shared, lambda _record: None) as worker:
        settled(worker, 5)
        worker.until(lambda: shared.committed.get(PLACE) == 5)
        worker.until(lambda: sum(worker_stats(worker.engine).committing.counts) >= 1)
        worker.source.revoke(PLACE)
        worker.until(lambda: "revoked" in worker_stats(worker.engine).rebalances)
        stats = worker_stats(worker.engine)

    assert stats.rebalances == {"assigned": 1, "revoked": 1}
    assert stats.owned == 0
    assert 0 < stats.committing.total < 30
