"""When a worker tells its statistics."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.core.worker_stats import WorkerStats
from supervisor.worker import report
from supervisor.worker.engine import Engine
from supervisor.worker.report import KEEP_ALIVE, Teller


class Told:
    """A worker that counts what the test says, at the times the test says; and what its parent was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.settled = 0
        self.takes = True
        self.frames: list[dict[str, Any]] = []
        monkeypatch.setattr(report, "worker_stats", lambda _engine: WorkerStats(settled=self.settled))
        monkeypatch.setattr("supervisor.worker.report.time.monotonic", lambda: self.now)
        self._teller = Teller(cast("Engine", SimpleNamespace(link=self)))

    def send(self, _kind: str, **members: object) -> bool:
        if self.takes:
            self.frames.append(members)
        return self.takes

    def count(self, settled: int, *, after: float = 1.0) -> list[tuple[int, float]]:
        """Let the worker count; return what was told of it: settled, and in how many seconds."""
        self.now += after
        self.settled = settled
        self.frames.clear()
        self._teller.tell()
        return [(cast("dict[str, int]", frame["stats"])["settled"], frame["seconds"]) for frame in self.frames]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_statistics_are_told_when_they_changed(told: Told) -> None:
    assert [told.count(0), told.count(0), told.count(5), told.count(5)] == [[(0, 1.0)], [], [(5, 1.0)], []]


def test_what_changed_after_a_silence_did_so_since_the_last_count(told: Told) -> None:
    told.count(0)
    told.count(0, after=2.0)

    assert told.count(7) == [(7, 1.0)]


def test_an_idle_worker_speaks_now_and_then(told: Told) -> None:
    told.count(0)

    assert told.count(0, after=KEEP_ALIVE) == [(0, KEEP_ALIVE)]


def test_what_the_parent_did_not_take_is_told_at_the_next_count(told: Told) -> None:
    told.count(0)
    told.takes = False
    told.count(4)
    told.takes = True

    assert told.count(6) == [(6, 2.0)]
