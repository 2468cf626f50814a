"""Dead letters of partitions that go, and the bound in bytes; on an engine with fakes (P1, P6)."""

import threading

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.spec import Ordering, RetrySpec
from supervisor.plugin import Letter, Record
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

OTHER = ("t", 1)
ONCE = RetrySpec(attempts=1, backoff=Backoff(0.0, 1.0, 0.0, 0.0))


@pytest.mark.parametrize("lost", [False, True])
def test_p1_a_dead_letter_that_no_sink_took_yet_goes_with_its_partition(
    lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.worker.outcomes.SINK_BACKOFF", Backoff(0.2, 1.0, 0.2, 0.0))
    cluster = FakeCluster()
    cluster.add(PLACE, b"bad")
    cluster.add(OTHER, b"bad")
    asked: list[tuple[str, int]] = []

    def sink(letter: Letter) -> None:
        asked.append((letter.source_topic, letter.source_partition))
        raise OSError

    def fail(_record: Record) -> None:
        raise ValueError

    with InProcess(cluster, fail, sink=sink, retry=ONCE, ordering=Ordering.KEY, concurrency=2) as worker:
        worker.source.assign(PLACE, OTHER)
        worker.until(lambda: {PLACE, OTHER} <= set(asked))

        assert worker.source.revoke(PLACE, lost=lost).wait(5)
        before = asked.count(PLACE)
        after = asked.count(OTHER) + 3
        worker.until(lambda: asked.count(OTHER) >= after)

        assert asked.count(PLACE) == before
        assert cluster.committed.get(PLACE, 0) == 0


def test_p6_records_held_stay_within_the_bound_in_bytes_and_then_partitions_pause() -> None:
    cluster = FakeCluster()
    for _ in range(400):
        cluster.add(PLACE, bytes(1000))
    free = threading.Event()

    def stuck(_record: Record) -> None:
        free.wait(20)

    with InProcess(cluster, stuck, ordering=Ordering.NONE, concurrency=2, queue_bytes=40_000) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.paused)

        assert 30_000 < worker.engine.lanes.size <= 40_000
        free.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 400)
