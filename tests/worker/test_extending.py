"""A handler that asks for more time: what it is given, where it stands, and what it does not reach."""

import asyncio
import time

import pytest

from supervisor.core.board import InFlight, read_board
from supervisor.plugin import Record
from supervisor.plugin.extending import extend
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    for value in (b"a", b"b"):
        cluster.add(PLACE, value)
    return cluster


def in_flight(worker: InProcess) -> list[InFlight]:
    board = read_board(bytes(worker.engine.board.words.cast("B")))
    return list(board.in_flight) if board is not None else []


def test_the_board_says_until_when_a_record_asked_to_go_on_and_nothing_of_the_next_one(cluster: FakeCluster) -> None:
    given: list[float] = []
    seen: list[float] = []

    def process(record: Record) -> None:
        if record.offset == 0:
            given.append(record.extend(60))
        seen.extend(one.until - time.monotonic() for one in in_flight(worker))

    with InProcess(cluster, process) as worker:
        worker.engine.mean = 1.0  # slow: each record by a lane
        worker.source.assign(PLACE)
        worker.until(lambda: len(seen) == 2)

    assert given == [pytest.approx(60, abs=1)]
    assert seen[0] == pytest.approx(60, abs=1)
    assert seen[1] < 0


def test_the_deadline_never_moves_back_nor_beyond_the_limit(cluster: FakeCluster) -> None:
    given: list[float] = []

    def process(record: Record) -> None:
        if record.offset == 0:
            given.extend(record.extend(seconds) for seconds in (60, 5, 9999, 120))

    with InProcess(cluster, process, extend_limit=100.0) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 2)

    assert given == pytest.approx([60, 60, 100, 100], abs=1)


def test_an_async_handler_that_asked_for_its_time_is_not_cancelled_and_one_that_did_not_is(
    cluster: FakeCluster,
) -> None:
    ended: list[tuple[int, str]] = []

    async def process(record: Record) -> None:
        if record.offset == 0:
            await asyncio.to_thread(record.extend, 30)
        try:
            await asyncio.sleep(1.2)
            ended.append((record.offset, "done"))
        except asyncio.CancelledError:
            ended.append((record.offset, "cancelled"))
            raise

    with InProcess(cluster, process, handler_timeout=0.4) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.failed_attempts > 0, 10)

    assert ended[:2] == [(0, "done"), (1, "cancelled")]


def test_a_test_of_a_handler_may_call_it_without_a_worker() -> None:
    assert extend(30) == 30.0


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_only_a_time_can_be_asked_for(seconds: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        extend(seconds)
