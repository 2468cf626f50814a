"""A suspect may kill its worker: what is settled before it begins is committed before it begins (P3)."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from supervisor.core import alone
from supervisor.core.commit_metadata import Runs, decode
from supervisor.core.spec import BatchSpec, CommitSpec, Delivery, Ordering
from supervisor.plugin import Produce, Record, Retry
from tests.worker.fake_source import FakeCluster, Place
from tests.worker.in_process import PLACE, InProcess
from tests.worker.test_accused import answered_with

OTHER = ("t", 1)
COUNT = 12
SUSPECTS = (4, 7)
NEVER = CommitSpec("manual", 1_000_000, 600.0)
SHAPES: dict[str, dict[str, Any]] = {
    "in order": {},
    "several threads": {"concurrency": 4, "ordering": Ordering.NONE},
    "more than there is room for": {"concurrency": 2, "ordering": Ordering.NONE, "queue_records": 4},
    "automatic": {"commit": CommitSpec("automatic", 1000, 600.0), "concurrency": 2},
    "exactly once": {"delivery": Delivery.EXACTLY_ONCE, "concurrency": 2},
    "batches": {"batch": BatchSpec(3, 0.0)},
    "async": {"concurrency": 4, "ordering": Ordering.NONE},
    "async, more than there is room for": {"concurrency": 4, "ordering": Ordering.NONE, "queue_records": 4},
}


class Watch:
    """A handler that looks, whenever a suspect begins, what of all that was settled is not committed."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.done: dict[Place, set[int]] = {PLACE: set(), OTHER: set()}
        self.missing: dict[int, dict[Place, list[int]]] = {}
        self.began: dict[int, float] = {}
        self._lock = threading.Lock()

    def __call__(self, record: Record) -> None:
        place = (record.topic, record.partition)
        with self._lock:
            if place == PLACE and record.offset in SUSPECTS:
                self.began[record.offset] = time.monotonic()
                self.missing[record.offset] = {one: self._uncommitted(one) for one in self.done}
            self.done[place].add(record.offset)

    def _uncommitted(self, place: Place) -> list[int]:
        """Return what could be committed and is not: settled, with nothing unsettled below it."""
        first_open = next(offset for offset in range(COUNT + 1) if offset not in self.done[place])
        return list(range(self.cluster.committed.get(place, 0), first_open))

    def batch(self, records: Sequence[Record]) -> None:
        for record in records:
            self(record)

    async def coroutine(self, record: Record) -> None:
        self(record)


def watched(shape: str, cluster: FakeCluster) -> tuple[Watch, dict[str, Any]]:
    """Return a handler, and what an ``InProcess`` needs to have it run; two records of it are suspects."""
    for _ in range(COUNT):
        cluster.add(PLACE, b"v")
        cluster.add(OTHER, b"v")
    watch = Watch(cluster)
    hooks: dict[str, Any] = {"process": watch}
    if shape == "batches":
        hooks = {"process_batch": watch.batch}
    elif shape.startswith("async"):
        hooks = {"process": watch.coroutine}
    return watch, {"commit": NEVER, "max_deaths": 3, **hooks, **SHAPES[shape]}


def accuse(worker: InProcess, *offsets: int) -> None:
    runs = [[offset, offset] for offset in offsets]
    answered_with(worker, {"ask": 1, "suspects": [[*PLACE, runs, []]], "convicted": []})


def all_done(watch: Watch) -> Callable[[], bool]:
    return lambda: all(len(done) == COUNT for done in watch.done.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_p3_what_is_settled_is_committed_before_a_suspect_begins(monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    monkeypatch.setattr(alone, "COMMIT_PATIENCE", 60.0)
    cluster = FakeCluster()
    watch, options = watched(shape, cluster)

    with InProcess(cluster, **options) as worker:
        worker.source.store = lambda offsets: None  # type: ignore[method-assign] # the timer of 10 minutes
        accuse(worker, *SUSPECTS)
        worker.source.assign(PLACE, OTHER)
        worker.until(all_done(watch), timeout=20.0)

    assert watch.missing == {offset: {PLACE: [], OTHER: []} for offset in SUSPECTS}


def test_p3_outputs_are_confirmed_and_their_records_committed_before_a_suspect_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alone, "COMMIT_PATIENCE", 60.0)
    cluster, committed = FakeCluster(), list[int | None]()
    for _ in range(3):
        cluster.add(PLACE, b"v")

    def process(record: Record) -> Produce:
        if record.offset == 2:
            committed.append(cluster.committed.get(PLACE))
        return Produce("out", b"v")

    with InProcess(cluster, process, commit=NEVER, max_deaths=3) as worker:
        accuse(worker, 2)
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 2)
        assert committed == []
        for at in range(2):
            worker.outputs.confirm(at)
        worker.until(lambda: len(worker.outputs.sent) == 3)
        worker.outputs.confirm(2)

    assert committed == [2]


def test_p3_what_is_settled_above_a_gap_is_noted_with_the_commit_before_a_suspect_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alone, "COMMIT_PATIENCE", 60.0)
    cluster, noted = FakeCluster(), list[Runs | None]()
    for _ in range(5):
        cluster.add(PLACE, b"v")

    def process(record: Record) -> None:
        if record.offset == 0:
            raise ValueError
        if record.offset == 4:
            noted.append(decode(cluster.metadata.get(PLACE, ""), 0))

    options: dict[str, Any] = {"commit": replace(NEVER, metadata=True), "ordering": Ordering.NONE}
    with InProcess(cluster, process, policy=lambda _: Retry(after=600.0), max_deaths=3, **options) as worker:
        accuse(worker, 4)
        worker.source.assign(PLACE)
        worker.until(lambda: noted)

    assert noted == [[(1, 4)]]


@pytest.mark.parametrize("shape", ["several threads", "automatic", "exactly once", "async"])
def test_p8_a_suspect_begins_without_a_commit_when_no_broker_answers(
    monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.setattr(alone, "COMMIT_PATIENCE", 0.2)
    cluster = FakeCluster()
    watch, options = watched(shape, cluster)
    gate = threading.Event()

    def hang() -> None:
        gate.wait(20)

    with InProcess(cluster, **options) as worker:
        commit = worker.source.commit
        worker.source.store = worker.source.commit = lambda *_: None  # type: ignore[method-assign]
        worker.transactional.pause = hang
        accuse(worker, *SUSPECTS)
        began = time.monotonic()
        worker.source.assign(PLACE, OTHER)
        worker.until(all_done(watch))
        gate.set()
        worker.source.commit = commit  # type: ignore[method-assign]
        worker.source.script(lambda: worker.parts.committer.committed([]))

    assert watch.began[SUSPECTS[0]] - began >= 0.2
    assert watch.missing[SUSPECTS[0]][PLACE] == list(range(SUSPECTS[0]))


def test_p8_a_suspect_does_not_make_refused_commits_a_storm_and_begins_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alone, "COMMIT_PATIENCE", 0.35)
    cluster, tries = FakeCluster(), list[int]()
    watch, options = watched("in order", cluster)

    def refuse(place: Place, offset: int) -> str:
        tries.append(offset)
        return "REBALANCE_IN_PROGRESS"

    with InProcess(cluster, **options) as worker:
        worker.source.answers = refuse
        accuse(worker, SUSPECTS[0])
        worker.source.assign(PLACE)
        worker.until(lambda: len(watch.done[PLACE]) == COUNT)
        worker.source.answers = lambda *_: None

    assert 1 <= tries.count(SUSPECTS[0]) <= 4


def test_no_commit_is_hurried_where_nobody_is_accused() -> None:
    cluster = FakeCluster()
    watch, options = watched("several threads", cluster)

    with InProcess(cluster, **options) as worker:
        worker.source.assign(PLACE, OTHER)
        worker.until(all_done(watch))
        assert set(cluster.committed.values()) <= {0}, "where they begin, and no more"
