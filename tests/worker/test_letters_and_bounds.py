"""Dead letters of partitions that go, and the bound in bytes; on an engine with fakes (P1, P6)."""

import threading
from itertools import pairwise
from typing import Any

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


class TooLargeError(Exception):
    """As the worker's producer and others' clients say it."""

    code = "MSG_SIZE_TOO_LARGE"


def _fail(_record: Record) -> None:
    raise ValueError("x" * 1000)


def _events(worker: InProcess, name: str) -> list[dict[str, Any]]:
    return [frame for frame in worker.link.frames if frame.get("name") == name]


def _size(letter: Letter) -> int:
    return len(letter.value or b"") + sum(len(name) + len(value or b"") for name, value in letter.headers)


def test_a_sink_that_takes_no_more_gets_the_letter_at_once_with_fewer_headers_and_the_record_whole() -> None:
    cluster = FakeCluster()
    cluster.add(PLACE, b"v" * 100)
    asked: list[Letter] = []

    def sink(letter: Letter) -> None:
        asked.append(letter)
        if _size(letter) > 800:
            raise TooLargeError

    with InProcess(cluster, _fail, sink=sink, retry=ONCE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed.get(PLACE) == 1)

        (told,) = _events(worker, "record.dead_lettered")
    names = [{name.removeprefix("supervisor.dlq.") for name, _ in letter.headers} for letter in asked]
    assert [before - after for before, after in pairwise(names)] == [
        {"exception-stack"},
        {"reason", "exception-message"},
    ]
    assert {letter.value for letter in asked} == {b"v" * 100}
    assert {letter.audit_id for letter in asked} == {"g/t/0/0"}
    assert told["fields"]["trimmed"] is True
    assert not _events(worker, "dead_letter.unwritten")


def test_p1_a_record_too_large_for_its_sink_waits_and_people_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.worker.outcomes.SINK_BACKOFF", Backoff(0.05, 1.0, 0.05, 0.0))
    cluster = FakeCluster()
    cluster.add(PLACE, b"v" * 100)
    asked: list[Letter] = []
    limit = [50]

    def sink(letter: Letter) -> None:
        asked.append(letter)
        if len(letter.value or b"") > limit[0]:
            raise TooLargeError

    with InProcess(cluster, _fail, sink=sink, retry=ONCE, ordering=Ordering.NONE, concurrency=2) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: _events(worker, "dead_letter.unwritten"))
        cluster.add(PLACE, b"v")  # another one is written meanwhile: the topic itself is well
        worker.until(lambda: _events(worker, "dead_letter.recovered"))
        bare = sum(letter.headers == () for letter in asked)
        worker.until(lambda: sum(letter.headers == () for letter in asked) >= bare + 3)
        assert cluster.committed.get(PLACE, 0) == 0
        (told,) = _events(worker, "dead_letter.unwritten")
        assert "the record itself is too large" in told["text"]

        limit[0] = 100
        worker.until(lambda: cluster.committed.get(PLACE) == 2)
    assert len(asked[-1].headers) > 10, "what waited is written with all its headers"


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
