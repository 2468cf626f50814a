"""Failures that say a dependency is down: their records wait for it, and none becomes a dead letter."""

import pytest

from supervisor.plugin import DependencyDownError, Letter, Record
from supervisor.worker import dependencies
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    for value in (b"a", b"b", b"c"):
        cluster.add(PLACE, value)
    return cluster


def test_a_record_whose_dependency_is_down_is_tried_until_it_is_back_and_no_attempt_counts(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(dependencies, "LONGEST_WAIT", 0.02)
    letters: list[Letter] = []
    attempts: list[tuple[int, int]] = []

    def process(record: Record) -> None:
        attempts.append((record.offset, record.attempt))
        if record.offset == 1 and len(attempts) < 20:
            raise OSError from DependencyDownError(dependency="payments-db")

    with InProcess(cluster, process, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert attempts == [(0, 1), *[(1, 1)] * 19, (2, 1)]
    assert letters == []
