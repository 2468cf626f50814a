"""So many dead letters that something else is wrong: the worker holds before it writes them all."""

from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.board import Wait
from supervisor.core.spec import Delivery, FloodAction, FloodOrder, FloodSpec, FloodState, Ordering, RetrySpec
from supervisor.plugin import DependencyDownError, Letter, Record
from supervisor.worker.report import stated_wait
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

ONCE = RetrySpec(1, Backoff(0.0, 1.0, 0.0, 0.0))
TWICE = RetrySpec(2, Backoff(0.01, 1.0, 0.01, 0.0))
ROW = FloodSpec(consecutive=10)


def filled(records: int) -> FakeCluster:
    cluster = FakeCluster()
    for number in range(records):
        cluster.add(PLACE, b"v", key=b"%d" % (number % 20))
    return cluster


def told(worker: InProcess) -> list[str]:
    return [frame["state"] for frame in worker.link.frames if frame["type"] == "flood"]


def obey(worker: InProcess, state: FloodState, *, amnesty: bool = False) -> None:
    worker.parts.outcomes.flood.obey(FloodOrder(state, amnesty=amnesty))


def fail(record: Record) -> None:
    raise ValueError(record.offset)


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("retry", [ONCE, TWICE])
@pytest.mark.parametrize("delivery", list(Delivery))
def test_it_holds_before_the_letter_that_would_be_one_too_many_and_goes_on_when_told(
    delivery: Delivery, retry: RetrySpec, concurrency: int
) -> None:
    cluster, letters = filled(100), list[Letter]()
    is_broken = [True]

    def process(record: Record) -> None:
        if is_broken[0]:
            fail(record)

    with InProcess(
        cluster,
        process,
        sink=letters.append,
        flood=ROW,
        retry=retry,
        ordering=Ordering.KEY,
        concurrency=concurrency,
        delivery=delivery,
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: PLACE in worker.source.paused and not worker.engine.lanes.busy)
        with worker.engine.mutex:
            assert stated_wait(worker.engine) is Wait.FLOOD
        written = len(letters)
        is_broken[0] = False
        obey(worker, FloodState.NORMAL)
        worker.until(lambda: worker.engine.counters.settled == 100)

    assert written == 9
    assert len(letters) == 9
    assert told(worker) == ["tripped"]
    assert [frame["reason"] for frame in worker.link.frames if frame["type"] == "flood"] == ["10 dead letters in a row"]


def test_letters_between_records_that_succeed_are_no_flood() -> None:
    letters: list[Letter] = []

    def process(record: Record) -> None:
        if record.offset % 5:
            fail(record)

    with InProcess(filled(200), process, sink=letters.append, flood=FloodSpec(consecutive=5), retry=ONCE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 200)

    assert len(letters) == 160
    assert told(worker) == []


def test_a_few_records_try_and_when_they_get_through_all_go_on() -> None:
    letters: list[Letter] = []
    is_broken, tried = [True], list[int]()

    def process(record: Record) -> None:
        tried.append(record.offset)
        if is_broken[0]:
            fail(record)

    with InProcess(filled(100), process, sink=letters.append, flood=ROW, retry=TWICE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: told(worker) == ["tripped"])
        worker.until(lambda: not worker.engine.lanes.busy)
        obey(worker, FloodState.TRIPPED)
        before = len(letters)
        obey(worker, FloodState.HALF_OPEN)
        worker.until(lambda: told(worker) == ["tripped", "tripped"])
        worker.until(lambda: not worker.engine.lanes.busy)
        between = len(letters)
        obey(worker, FloodState.TRIPPED)
        is_broken[0] = False
        obey(worker, FloodState.HALF_OPEN)
        worker.until(lambda: worker.engine.counters.settled == 100)

    assert (before, between) == (9, 13), "the fifth of those that tried is not written"
    assert told(worker) == ["tripped", "tripped", "passed"]
    assert len(letters) == 13


def test_a_worker_without_records_reads_some_to_try_with() -> None:
    cluster = FakeCluster()
    done: list[int] = []

    with InProcess(cluster, lambda record: done.append(record.offset), flood=ROW) as worker:
        obey(worker, FloodState.TRIPPED)
        worker.source.assign(PLACE)
        worker.until(lambda: PLACE in worker.source.paused)
        for _ in range(30):
            cluster.add(PLACE, b"v")
        obey(worker, FloodState.HALF_OPEN)
        worker.until(lambda: len(done) == 30)

    assert told(worker) == ["passed"]
    assert done == list(range(30))


def test_by_explicit_config_what_fails_in_a_flood_is_dropped_and_counted() -> None:
    letters: list[Letter] = []
    spec = FloodSpec(consecutive=10, action=FloodAction.SHED)

    with InProcess(filled(100), fail, sink=letters.append, flood=spec, retry=ONCE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 100)
        assert worker.engine.counters.dropped == 91

    assert len(letters) == 9
    assert told(worker) == ["tripped"]


def test_what_cannot_be_tried_again_is_written_even_in_a_flood() -> None:
    letters: list[Letter] = []

    def process(_record: Record) -> Any:
        return "its side effects have happened"

    with InProcess(filled(50), process, sink=letters.append, flood=ROW, retry=ONCE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 50)

    assert len(letters) == 50


def test_a_dependency_that_goes_down_while_records_try_holds_them_and_they_try_again_afterwards() -> None:
    letters: list[Letter] = []
    mode = ["broken"]

    def process(record: Record) -> None:
        match mode[0]:
            case "broken":
                fail(record)
            case "down":
                raise DependencyDownError(dependency="db")

    with InProcess(filled(100), process, sink=letters.append, flood=ROW, retry=ONCE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: told(worker) == ["tripped"])
        mode[0] = "down"
        obey(worker, FloodState.HALF_OPEN)
        worker.until(lambda: any(frame["type"] == "breaker" for frame in worker.link.frames))
        mode[0] = "fine"
        worker.until(lambda: worker.engine.counters.settled == 100)

    assert len(letters) == 9
    assert told(worker) == ["tripped", "passed"]


def test_async_handlers_hold_the_same_way() -> None:
    letters: list[Letter] = []

    async def process(record: Record) -> None:
        fail(record)

    with InProcess(
        filled(100), process, sink=letters.append, flood=ROW, retry=ONCE, ordering=Ordering.KEY, concurrency=8
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: PLACE in worker.source.paused and not worker.engine.lanes.busy)
        assert worker.stop()

    assert len(letters) == 9
