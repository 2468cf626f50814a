"""``async def`` handlers, run by the real engine's tasks over a fake consumer."""

import asyncio
import contextlib
import select
import selectors
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.board import C_OFFSET, C_SEQUENCE, H_CANCELS, IDLE, cell_base
from supervisor.core.spec import BatchSpec, Ordering, RetrySpec
from supervisor.plugin.types import Failure, Letter, Produce, Record, Retry
from supervisor.worker.loop import LoopThread, _selector
from supervisor.worker.tasks import STREAK
from tests.waiting import wait_until
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

FAST = RetrySpec(attempts=3, backoff=Backoff(0.01, 1.0, 0.01, 0.0))
KEYS: dict[str, Any] = {"ordering": Ordering.KEY, "retry": FAST}


def a_cluster(*values: bytes) -> FakeCluster:
    """Return a partition with these values, each also the record's key."""
    cluster = FakeCluster()
    for value in values:
        cluster.add(PLACE, value, value)
    return cluster


def committed(cluster: FakeCluster, offset: int) -> Any:
    return lambda: cluster.committed.get(PLACE) == offset


def events(worker: InProcess, name: str) -> list[dict[str, Any]]:
    return [frame for frame in worker.link.frames if frame["type"] == "event" and frame["name"] == name]


def test_p2_records_of_a_key_are_worked_in_order_with_many_in_flight() -> None:
    cluster = FakeCluster()
    for number in range(2000):
        cluster.add(PLACE, b"%d" % number, b"%d" % (number % 97))
    inside: set[bytes] = set()
    most = 0
    done: dict[bytes, list[int]] = defaultdict(list)

    async def process(record: Record) -> None:
        nonlocal most
        key = record.key or b""
        assert key not in inside
        inside.add(key)
        most = max(most, len(inside))
        await asyncio.sleep(0.001 * (record.offset % 3))
        inside.discard(key)
        if record.offset % 50 == 0 and record.attempt == 1:
            raise ValueError
        done[key].append(record.offset)

    with InProcess(cluster, process, concurrency=32, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 2000), 15)

    assert most == 32
    assert all(offsets == sorted(offsets) for offsets in done.values())
    assert sum(map(len, done.values())) == 2000


def test_a_handler_that_never_waits_leaves_the_loop_to_others_too() -> None:
    cluster = a_cluster(*[b"%d" % number for number in range(5000)])
    in_a_row = most = 0

    async def beat() -> None:
        nonlocal in_a_row
        while True:
            await asyncio.sleep(0)
            in_a_row = 0

    background: set[asyncio.Task[None]] = set()

    async def process(_record: Record) -> None:
        nonlocal in_a_row, most
        in_a_row += 1
        most = max(most, in_a_row)
        if not background:
            background.add(asyncio.create_task(beat()))

    with InProcess(cluster, process, concurrency=1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 5000))

    assert most <= 2 * STREAK


def test_p1_what_fails_for_good_becomes_a_dead_letter_and_holds_back_only_its_key() -> None:
    cluster = a_cluster(b"bad", b"good", b"returns")
    letters: list[Letter] = []
    attempts: list[int] = []

    async def process(record: Record) -> object:
        await asyncio.sleep(0)
        if record.value == b"bad":
            attempts.append(record.attempt)
            raise ValueError
        return 7 if record.value == b"returns" else None

    with InProcess(cluster, process, sink=letters.append, concurrency=2, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 3))

    assert attempts == [1, 2, 3]
    assert sorted((letter.key, letter.disposition.value) for letter in letters) == [
        (b"bad", "error"),
        (b"returns", "plugin-error"),
    ]


def test_a_retry_that_comes_due_while_all_tasks_are_idle_is_begun_by_its_own_alarm() -> None:
    cluster = a_cluster(b"bad")
    begun: list[float] = []

    async def process(record: Record) -> None:
        begun.append(time.monotonic())
        if record.attempt == 1:
            raise ValueError

    with InProcess(cluster, process, concurrency=4, policy=lambda _failure: Retry(0.3), **KEYS) as worker:
        worker.parts.executor.wake = lambda: None  # type: ignore[method-assign]
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 1))

    assert begun[1] - begun[0] >= 0.3


@pytest.mark.parametrize("kind", ["policy", "sink"])
def test_a_policy_or_sink_that_blocks_stops_no_other_record(kind: str) -> None:
    cluster = a_cluster(b"bad", *[b"%d" % number for number in range(100)])
    free = threading.Event()
    done: list[bytes | None] = []

    async def process(record: Record) -> None:
        if record.value == b"bad" and record.attempt == 1:
            raise ValueError
        done.append(record.value)

    def policy(_failure: Failure) -> Retry | None:
        if kind == "policy":
            free.wait(5)
        return None

    def sink(_letter: Letter) -> None:
        free.wait(5)

    retry = FAST if kind == "policy" else RetrySpec(attempts=1, backoff=FAST.backoff)
    with InProcess(
        cluster, process, concurrency=2, policy=policy, sink=sink, ordering=Ordering.KEY, retry=retry
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(done) == 100)
        board = worker.engine.board.words
        assert [board[cell_base(cell) + C_OFFSET] for cell in range(2)].count(0) == 1, "it is on the board meanwhile"
        free.set()
        worker.until(committed(cluster, 101))


def test_a_batch_is_settled_record_by_record() -> None:
    cluster = FakeCluster()
    for number in range(30):
        cluster.add(PLACE, b"bad" if number == 7 else b"good")
    calls: list[list[int]] = []

    async def process_batch(records: Sequence[Record]) -> list[Exception | None]:
        await asyncio.sleep(0)
        calls.append([record.offset for record in records])
        return [ValueError() if record.value == b"bad" and record.attempt == 1 else None for record in records]

    with InProcess(
        cluster, process_batch=process_batch, concurrency=2, batch=BatchSpec(10, 0.05), retry=FAST
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 30))

    assert [7] in calls
    assert sorted(offset for call in calls for offset in call) == sorted([*range(30), 7])


def test_p1_a_record_whose_handler_returns_outputs_is_settled_when_they_are_confirmed() -> None:
    cluster = a_cluster(b"one", b"two", b"none")

    async def process(record: Record) -> Produce | list[Produce] | None:
        await asyncio.sleep(0)
        output = Produce("out", record.value)
        if record.value == b"none":
            return None
        return output if record.value == b"one" else [output, output]

    with InProcess(cluster, process, concurrency=1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 3 and worker.engine.counters.settled == 1)
        assert cluster.committed.get(PLACE, 0) == 0
        worker.outputs.confirm(0)
        worker.until(committed(cluster, 1))
        worker.outputs.confirm(1)
        worker.outputs.confirm(2)
        worker.until(committed(cluster, 3))


def test_p8_the_sink_of_a_refused_output_is_not_called_by_the_thread_that_polls() -> None:
    cluster = a_cluster(b"a")
    writers: list[str] = []

    async def process(_record: Record) -> Produce:
        return Produce("out", b"x")

    def sink(_letter: Letter) -> None:
        writers.append(threading.current_thread().name)

    with InProcess(cluster, process, sink=sink, concurrency=2, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.outputs.sent)
        worker.outputs.confirm(0, "INVALID_TIMESTAMP")
        worker.until(committed(cluster, 1))

    assert [name.partition("_")[0] for name in writers] == ["outcomes"]


def test_what_a_handler_returns_after_its_time_is_not_produced() -> None:
    cluster = a_cluster(b"slow")

    async def process(record: Record) -> Produce | None:
        if record.attempt > 1:
            return None
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return Produce("out", b"half of it")

    with InProcess(cluster, process, concurrency=1, handler_timeout=0.1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 1))

        assert not worker.outputs.sent


def test_a_batch_may_return_outputs_and_failures_record_by_record() -> None:
    cluster = a_cluster(b"a", b"b", b"c")
    letters: list[Letter] = []

    async def process_batch(records: Sequence[Record]) -> list[Any]:
        await asyncio.sleep(0)
        answers = {b"a": Produce("out", b"a"), b"b": 7, b"c": None}
        return [answers[record.value or b""] for record in records]

    with InProcess(cluster, process_batch=process_batch, sink=letters.append, retry=FAST) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.outputs.sent and letters)
        worker.outputs.confirm(0)
        worker.until(committed(cluster, 3))

    assert [letter.key for letter in letters] == [b"b"]


@pytest.mark.parametrize("how", ["raises", "swallows"])
def test_a_handler_over_its_time_is_cancelled_and_its_attempt_fails_with_a_timeout(how: str) -> None:
    cluster = a_cluster(b"slow", b"good")
    failures: list[Failure] = []
    letters: list[Letter] = []

    async def process(record: Record) -> None:
        if record.value == b"slow":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if how == "raises":
                    raise

    with InProcess(
        cluster,
        process,
        concurrency=2,
        policy=failures.append,
        sink=letters.append,
        handler_timeout=0.1,
        **KEYS,
    ) as worker:
        assert worker.engine.board.words[H_CANCELS] == 1
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 2))

    assert [failure.attempt for failure in failures] == [1, 2, 3]
    assert all(isinstance(failure.error, TimeoutError) for failure in failures)
    assert [letter.disposition.value for letter in letters] == ["timeout"]


def test_the_parent_hears_which_handler_was_cancelled_for_its_time_for_it_may_not_end() -> None:
    release = threading.Event()

    async def process(record: Record) -> None:
        while record.value == b"stuck" and not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    with InProcess(a_cluster(b"stuck", b"good"), process, concurrency=2, handler_timeout=0.1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: any(frame["type"] == "cancelled" for frame in worker.link.frames))
        (told,) = [frame for frame in worker.link.frames if frame["type"] == "cancelled"]
        words, base = worker.engine.board.words, cell_base(told["cell"])
        shown = words[base + C_OFFSET], words[base + C_SEQUENCE]
        release.set()

    assert shown == (0, told["sequence"])


async def wait_in_vain() -> None:
    await asyncio.sleep(60)


def test_p10_a_cancelled_handler_is_told_of_with_where_it_and_all_threads_were_and_others_are_counted() -> None:
    secret = b"4111-1111"

    async def process(_record: Record) -> None:
        await wait_in_vain()

    with InProcess(a_cluster(*[secret] * 6), process, concurrency=3, handler_timeout=0.1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.failed_attempts >= 6)
        (event,) = events(worker, "handler.cancelled")

    assert event["fields"]["record"] == "t/0@0"
    assert event["severity"] == "warning"
    stack = event["stack"]
    assert "in wait_in_vain\n    await asyncio.sleep(60)\n" in stack
    assert "MainThread" in stack
    assert "4111" not in str(event)


def test_a_timeout_cancels_nothing_but_the_handler_it_is_about() -> None:
    """The task that was cancelled works on; timeouts inside of handlers go on working on it."""
    cluster = FakeCluster()
    for value in (b"slow", b"inner", *[b"good"] * 20):
        cluster.add(PLACE, value, b"k")
    seen: list[str] = []

    async def process(record: Record) -> None:
        if record.value == b"slow" and record.attempt == 1:
            await asyncio.sleep(60)
        if record.value == b"inner":
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            except TimeoutError:
                seen.append("inner")

    with InProcess(cluster, process, concurrency=1, handler_timeout=0.1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 22))
        assert worker.engine.counters.failed_attempts == 1

    assert seen == ["inner"]


def test_a_cancelling_that_comes_too_late_does_not_hit_the_next_record() -> None:
    cluster = a_cluster(b"next")
    begun, free = threading.Event(), threading.Event()

    async def process(_record: Record) -> None:
        begun.set()
        await asyncio.to_thread(free.wait, 5)

    with InProcess(cluster, process, concurrency=1, **KEYS) as worker:
        executor: Any = worker.parts.executor
        worker.source.assign(PLACE)
        worker.until(begun.is_set)
        executor._loop.call(executor._overdue._cancel, executor._cells[0], -7)
        free.set()
        worker.until(committed(cluster, 1))

        assert worker.engine.counters.failed_attempts == 0


def test_a_policy_that_takes_long_is_not_taken_for_its_handler() -> None:
    cluster = a_cluster(b"bad")
    free = threading.Event()
    failures: list[Failure] = []

    async def process(record: Record) -> None:
        if record.attempt == 1:
            raise ValueError

    def policy(failure: Failure) -> None:
        failures.append(failure)
        free.wait(5)

    with InProcess(cluster, process, concurrency=1, policy=policy, handler_timeout=0.05, **KEYS) as worker:
        before = worker.engine.board.words[cell_base(0) + C_SEQUENCE]
        worker.source.assign(PLACE)
        worker.until(lambda: failures)
        assert worker.engine.board.words[cell_base(0) + C_SEQUENCE] == before + 2, "its time begins anew for the parent"
        watched = threading.Event()
        watch = worker.parts.executor.watch

        def looks() -> None:
            watch()
            watched.set()

        worker.parts.executor.watch = looks  # type: ignore[method-assign]
        assert watched.wait(5)
        free.set()
        worker.until(committed(cluster, 1))

    assert [type(failure.error) for failure in failures] == [ValueError]


@pytest.mark.parametrize(
    "how", ["raises", "cancels itself", "is cancelled by another task", "awaits what was cancelled"]
)
def test_cancelling_that_is_not_ours_is_a_failed_attempt_and_harms_no_other_record(how: str) -> None:
    cluster = FakeCluster()
    for value in (b"bad", *[b"good"] * 20):
        cluster.add(PLACE, value, b"k")
    failures: list[BaseException] = []
    kept: list[asyncio.Task[Any]] = []

    async def process(record: Record) -> None:
        task = asyncio.current_task()
        assert task is not None
        if record.value != b"bad" or record.attempt > 1:
            await asyncio.sleep(0)
            return
        match how:
            case "raises":
                raise asyncio.CancelledError
            case "cancels itself":
                task.cancel()
                await asyncio.sleep(1)
            case "is cancelled by another task":

                async def other() -> None:
                    task.cancel()

                kept.append(asyncio.create_task(other()))
                await asyncio.sleep(1)
            case _:
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future

    with InProcess(
        cluster, process, concurrency=1, policy=lambda failure: failures.append(failure.error), **KEYS
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 21))

    assert [type(failure) for failure in failures] == [asyncio.CancelledError]


def test_a_handler_that_cancels_its_task_and_returns_is_done_and_the_next_is_not_cancelled() -> None:
    cluster = FakeCluster()
    for _ in range(50):
        cluster.add(PLACE, b"", b"k")

    async def process(_record: Record) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(0)
        task.cancel()

    with InProcess(cluster, process, concurrency=1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 50))

        assert worker.engine.counters.failed_attempts == 0


def test_an_idle_task_that_user_code_cancels_is_there_for_the_next_record() -> None:
    cluster = a_cluster(b"first")
    tasks: list[Any] = []

    async def process(_record: Record) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)

    with InProcess(cluster, process, concurrency=1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 1))
        executor: Any = worker.parts.executor
        executor._loop.call(tasks[0].cancel)
        for _ in range(3):
            executor._loop.call(asyncio.sleep, 0)
        assert len(executor._idle.cells) == 1
        cluster.add(PLACE, b"second", b"k")
        worker.until(committed(cluster, 2))


@pytest.mark.parametrize("how", ["exit", "task exits", "stops the loop"])
def test_nothing_a_handler_does_to_the_loop_ends_it(how: str, caplog: pytest.LogCaptureFixture) -> None:
    cluster = a_cluster(b"bad", b"good", b"more")
    kept: list[asyncio.Task[Any]] = []

    async def leave() -> None:
        raise SystemExit(3)

    async def process(record: Record) -> None:
        if record.value == b"bad" and record.attempt == 1:
            if how == "exit":
                raise SystemExit(3)
            if how == "stops the loop":
                asyncio.get_running_loop().stop()
                return
            kept.append(asyncio.create_task(leave()))
            await kept[0]

    with InProcess(cluster, process, concurrency=2, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 3))
        cluster.add(PLACE, b"after", b"after")
        worker.until(committed(cluster, 4))

        assert worker.engine.counters.failed_attempts == (how != "stops the loop")

    assert ("handler.task_exited" in caplog.messages) == (how == "task exits")


def test_p10_what_a_task_of_the_handlers_own_fails_with_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = a_cluster(b"secret")

    async def fail(record: Record) -> None:
        raise ValueError(record.value)

    async def process(record: Record) -> None:
        asyncio.create_task(fail(record))  # noqa: RUF006 - forgotten: that is what is tested

    with InProcess(cluster, process, concurrency=1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: "handler.task_failed" in caplog.messages)

    assert "secret" not in caplog.text


def test_short_waits_of_the_loop_are_not_rounded_to_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.closing(_selector()) as selector:
        selector.register(ours, selectors.EVENT_READ)
        theirs.send(b"x")
        real = select.select

        def noted(readers: Any, writers: Any, others: Any, timeout: float) -> Any:
            waits.append(timeout)
            return real(readers, writers, others, timeout)

        monkeypatch.setattr(select, "select", noted)
        found = [selector.select(timeout) for timeout in (0.0004, 0, 30.0, None, -1)]

        assert waits == [0.0004]
        assert [len(events) for events in found] == [1] * 5

        thread = LoopThread(lambda _error: None)
        thread.start()
        thread.call(asyncio.sleep, 0.001)
        assert thread.stop(time.monotonic() + 5)
        assert len(waits) > 1


def test_a_handler_that_blocks_the_loop_is_told_of_once_with_its_place() -> None:
    cluster = a_cluster(b"blocks", b"other")

    async def process(record: Record) -> None:
        if record.value == b"blocks":
            time.sleep(1.5)  # noqa: ASYNC251 - that is what is tested
        await asyncio.sleep(0.01)

    with InProcess(cluster, process, concurrency=2, handler_timeout=0.5, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 2), 10)

        assert worker.engine.counters.failed_attempts == 0, "the time the loop stood still counts for nobody"
        (event,) = events(worker, "handler.blocks_loop")
    assert event["fields"]["record"] == "t/0@0"
    assert event["fields"]["at"].startswith("test_tasks.py:")
    assert event["severity"] == "warning"


def test_p1_a_result_that_comes_after_the_revoke_is_never_committed() -> None:
    cluster = a_cluster(b"slow", b"good")
    free = threading.Event()
    ended: list[bytes | None] = []

    async def process(record: Record) -> None:
        if record.value == b"slow":
            await asyncio.to_thread(free.wait, 5)
        ended.append(record.value)

    with InProcess(cluster, process, concurrency=2, revoke_timeout=0.2, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: ended == [b"good"])
        revoked = worker.source.revoke(PLACE)
        worker.until(revoked.is_set)
        settled = worker.engine.counters.settled
        free.set()
        worker.until(lambda: len(ended) == 2 and not worker.engine.lanes.busy)

        assert worker.engine.counters.settled == settled
    assert cluster.committed.get(PLACE, 0) == 0


def test_a_revoke_waits_for_what_ends_in_time_and_commits_it() -> None:
    cluster = a_cluster(b"slow")
    begun = threading.Event()

    async def process(_record: Record) -> None:
        begun.set()
        await asyncio.sleep(0.2)

    with InProcess(cluster, process, concurrency=2, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(begun.is_set)
        revoked = worker.source.revoke(PLACE)
        worker.until(revoked.is_set)

        assert cluster.committed[PLACE] == 1


def test_a_stop_finishes_what_is_in_flight_and_begins_nothing_more() -> None:
    cluster = a_cluster(*[b"%d" % number for number in range(50)])
    begun: list[int] = []

    async def process(record: Record) -> None:
        begun.append(record.offset)
        await asyncio.sleep(0.3)

    with InProcess(cluster, process, concurrency=4, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(begun) == 4)
        assert worker.stop()

    assert begun == [0, 1, 2, 3]
    assert cluster.committed[PLACE] == 4


@pytest.mark.parametrize("how", ["raises", "swallows", "goes on"])
def test_p1_a_stop_cancels_what_does_not_end_in_time_and_does_not_commit_it(how: str) -> None:
    cluster = a_cluster(b"stuck")
    begun = threading.Event()
    closed: list[str] = []

    async def process(_record: Record) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            closed.append(worker.source.closed)
            if how == "raises":
                raise
            if how == "goes on":
                await asyncio.sleep(0.1)

    with InProcess(cluster, process, concurrency=2, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(begun.is_set)
        assert worker.stop(0.5)

    assert closed == [""], "it is cancelled before the consumer is closed: nothing settles after the last commit"
    assert cluster.committed.get(PLACE, 0) == 0


def test_a_stop_ends_the_tasks_that_the_handler_left_on_the_loop() -> None:
    cluster = a_cluster(b"first")
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    kept: list[asyncio.Task[None]] = []

    async def process(_record: Record) -> None:
        kept.append(asyncio.create_task(forever()))

    with InProcess(cluster, process, concurrency=1, **KEYS) as worker:
        worker.source.assign(PLACE)
        worker.until(committed(cluster, 1))
        assert worker.stop()

    assert ended.is_set()


def test_the_board_shows_each_task_its_record_and_none_when_idle() -> None:
    cluster = a_cluster(b"a", b"b", b"c")
    free = threading.Event()

    async def process(_record: Record) -> None:
        await asyncio.to_thread(free.wait, 5)

    with InProcess(cluster, process, concurrency=4, **KEYS) as worker:
        words = worker.engine.board.words

        def shown() -> list[int]:
            return sorted(words[cell_base(cell) + C_OFFSET] for cell in range(4))

        worker.source.assign(PLACE)
        worker.until(lambda: shown() == [IDLE, 0, 1, 2])
        free.set()
        worker.until(committed(cluster, 3))
        wait_until(lambda: shown() == [IDLE] * 4)
