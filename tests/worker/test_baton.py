"""Only the holder of the baton touches the client, from its poll to the last of what follows from it."""

import threading
from typing import Any

from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess


def _cluster(records: int) -> FakeCluster:
    cluster = FakeCluster()
    for _ in range(records):
        cluster.add(PLACE, b"v")
    return cluster


def test_a_chunk_is_not_stolen_while_its_thread_still_uses_the_client() -> None:
    """The interpreter lock may keep a thread waiting for longer than the main thread waits before it steals."""
    cluster = _cluster(5)
    with InProcess(cluster, lambda _record: None) as worker:
        commit = worker.source.commit

        def slow(*commits: Any) -> None:
            with worker.source._alone():
                threading.Event().wait(0.4)
            commit(*commits)

        worker.source.commit = slow  # type: ignore[assignment,method-assign]
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 5)


def test_p1_a_chunk_whose_thread_came_late_is_not_begun_once_the_worker_stops() -> None:
    cluster = _cluster(5)
    seen: list[object] = []
    inside = threading.Event()
    with InProcess(cluster, seen.append) as worker:
        commit = worker.source.commit

        def slow(*commits: Any) -> None:
            inside.set()
            threading.Event().wait(0.3)
            commit(*commits)

        worker.source.commit = slow  # type: ignore[assignment,method-assign]
        worker.source.assign(PLACE)
        assert inside.wait(3)
        assert worker.stop()

    assert seen == []
    assert cluster.committed.get(PLACE, 0) == 0
