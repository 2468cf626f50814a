"""Schedules that once lost, reordered or stalled records, forced on an engine with a fake consumer."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.board import H_TICK_NS
from supervisor.core.exits import ExitCode
from supervisor.core.spec import BatchSpec, DeadLetterSpec, Ordering, RetrySpec
from supervisor.kafka.consumer import NO_NOTES
from supervisor.plugin.types import DeadLetter, Letter, Record, Retry
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

ONCE = RetrySpec(attempts=1, backoff=Backoff(0.0, 1.0, 0.0, 0.0))


def _cluster(*values: bytes, place: tuple[str, int] = PLACE) -> FakeCluster:
    cluster = FakeCluster()
    for value in values:
        cluster.add(place, value)
    return cluster


def test_p1_a_failed_commit_does_not_make_the_next_chunk_pass_what_is_unsettled() -> None:
    cluster = _cluster(b"slow")
    free = threading.Event()
    commits: list[int] = []

    def process(record: Record) -> None:
        if record.value == b"slow":
            free.wait(5)

    def fail(_place: tuple[str, int], offset: int) -> str:
        commits.append(offset)
        return "REBALANCE_IN_PROGRESS"

    with InProcess(cluster, process, concurrency=2, ordering=Ordering.KEY) as worker:
        worker.source.answers = fail
        worker.source.assign(PLACE)
        worker.until(lambda: commits)
        for _ in range(5):
            cluster.add(PLACE, b"good")
        worker.until(lambda: worker.engine.counters.settled == 5)

        assert set(commits) == {0}
        worker.source.answers = lambda _place, _offset: None
        free.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 6)


def _waiter(free: threading.Event) -> Any:
    def process(_record: Record) -> None:
        free.wait(8)

    return process


@pytest.mark.parametrize("mode", ["fails", "stolen", "lanes"])
def test_an_end_of_partition_in_the_chunk_of_its_last_records_ends_nobody(mode: str) -> None:
    cluster = _cluster(b"good")

    def process(record: Record) -> None:
        if record.value == b"bad":
            if mode == "stolen":
                time.sleep(0.3)
                return
            raise ValueError

    with InProcess(cluster, process, concurrency=2, retry=ONCE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed.get(PLACE) == 1)
        if mode == "lanes":
            worker.engine.mean = 1.0

        def more() -> None:
            for value in (b"bad", b"good", b"good"):
                cluster.add(PLACE, value)
            cluster.ends[PLACE] += 1

        worker.source.script(more)

        worker.until(lambda: cluster.committed.get(PLACE) == 5)
        assert worker.engine.at_end == {PLACE}


def test_p1_records_that_come_while_stopping_are_not_passed_by_their_end_of_partition() -> None:
    cluster = _cluster(b"good")

    with InProcess(cluster, lambda _record: None) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed.get(PLACE) == 1)

        def arrive() -> None:
            with worker.engine.mutex:
                worker.engine.stopping = True
            cluster.add(PLACE, b"late")

        worker.source.script(arrive).wait(5)
        worker.stop()

    assert cluster.committed[PLACE] == 1


def test_a_retry_that_is_due_gets_a_thread_though_all_that_were_hired_are_busy() -> None:
    cluster = _cluster(b"retry")
    other = ("t", 1)
    done: list[bytes] = []
    free = threading.Event()

    def process(record: Record) -> None:
        assert record.value is not None
        if record.value == b"retry" and record.attempt == 1:
            raise ValueError
        if record.value == b"slow":
            done.append(b"begun")
            free.wait(5)
        done.append(record.value)

    retry = RetrySpec(attempts=3, backoff=Backoff(0.3, 1.0, 0.3, 0.0))
    with InProcess(cluster, process, concurrency=4, ordering=Ordering.KEY, retry=retry) as worker:
        worker.source.assign(PLACE, other)
        worker.until(lambda: worker.engine.counters.failed_attempts == 1)
        cluster.add(other, b"slow", b"b")
        worker.until(lambda: done == [b"begun"])

        worker.until(lambda: done == [b"begun", b"retry"], timeout=1.5)
        free.set()


def _raise_exit(_letter: Letter) -> None:
    raise SystemExit(3)


class HostileList(list[Any]):
    def __iter__(self) -> Any:
        raise RuntimeError


def _wrong(_letter: Letter) -> Any:
    return "not a future"


@pytest.mark.parametrize("sink", [_raise_exit, _wrong])
def test_a_sink_that_breaks_its_promise_is_tried_again_and_ends_nobody(
    sink: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = _cluster(b"bad")
    calls: list[Letter] = []

    def broken_once(letter: Letter) -> Any:
        calls.append(letter)
        return sink(letter) if len(calls) == 1 else None

    def process(_record: Record) -> None:
        raise ValueError

    with InProcess(cluster, process, sink=broken_once, retry=ONCE) as worker:
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 1)
        assert len(calls) == 2
    (error,) = [vars(one)["fields"]["error"] for one in caplog.records if one.message == "sink.failed"]
    assert error == ("returned str instead of None, a Produce or a Future" if sink is _wrong else "3")


@pytest.mark.parametrize(
    "decision",
    [
        Retry(after="1 s"),  # type: ignore[arg-type]
        Retry(after=float("inf")),
        Retry(after=float("nan")),
        DeadLetter(reason=None),  # type: ignore[arg-type]
        DeadLetter(disposition="made-up"),  # type: ignore[arg-type]
        SystemExit,
    ],
)
def test_a_policy_that_answers_nonsense_makes_a_dead_letter(decision: Any) -> None:
    cluster = _cluster(b"bad")
    letters: list[Letter] = []

    def process(_record: Record) -> None:
        raise ValueError

    def policy(_failure: Any) -> Any:
        if decision is SystemExit:
            raise SystemExit
        return decision

    with InProcess(cluster, process, sink=letters.append, policy=policy) as worker:
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 1)
        assert [letter.disposition for letter in letters] == ["plugin-error"]


def test_a_batch_handler_with_a_hostile_answer_fails_its_records_and_ends_nobody() -> None:
    cluster = _cluster(b"a", b"b")
    letters: list[Letter] = []

    with InProcess(
        cluster, process_batch=lambda records: HostileList([None] * len(records)), sink=letters.append, retry=ONCE
    ) as worker:
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 2)
        assert len(letters) == 2


def test_a_serial_chunk_that_creeps_is_stolen_though_its_record_moves() -> None:
    cluster = _cluster(*[b"x"] * 400)
    polls: list[float] = []

    def process(_record: Record) -> None:
        time.sleep(0.01)

    def chunk(limit: int) -> int:
        polls.append(time.monotonic())
        return limit

    with InProcess(cluster, process) as worker:
        worker.source.chunk = chunk
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled >= 1 or worker.engine.lanes.count, timeout=1.0)
        first = len(polls)

        worker.until(lambda: len(polls) > first + 3, timeout=1.0)


def test_a_long_revoke_keeps_the_boards_tick_going() -> None:
    cluster = _cluster(b"slow")
    free = threading.Event()

    with InProcess(cluster, _waiter(free), concurrency=2, revoke_timeout=6.0) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.lanes.busy)
        revoked = worker.source.revoke(PLACE)
        worker.until(lambda: worker.engine.revoking)
        words = worker.engine.board.words
        before = words[H_TICK_NS]

        worker.until(lambda: words[H_TICK_NS] > before + 1_000_000_000, timeout=4.0)
        free.set()
        assert revoked.wait(5)


def test_p1_p2_what_a_batch_leaves_undone_after_a_revoke_is_not_started_again() -> None:
    cluster = _cluster(*[b"x"] * 5)
    free = threading.Event()
    calls: list[tuple[int, ...]] = []

    def batch(records: Sequence[Record]) -> list[BaseException | None]:
        calls.append(tuple(record.offset for record in records))
        free.wait(5)
        return [ValueError()] * len(records)

    with InProcess(cluster, process_batch=batch, concurrency=2, revoke_timeout=0.05, batch=BatchSpec(5, 0.0)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: calls)
        assert worker.source.revoke(PLACE).wait(5)
        free.set()

        worker.until(lambda: not worker.engine.lanes.count)
        assert len(calls) == 1


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_stop_during_a_revoke_ends_in_its_own_time(concurrency: int) -> None:
    cluster = _cluster(b"slow")
    free = threading.Event()

    with InProcess(cluster, _waiter(free), concurrency=concurrency, revoke_timeout=30.0) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.lanes.busy)
        worker.source.revoke(PLACE)
        worker.until(lambda: worker.engine.revoking)

        worker.stop(3.0)
        assert worker.engine.end is None
        assert worker.source.closed == "close"
        free.set()


def test_a_topic_with_fenced_in_its_name_is_no_fencing() -> None:
    with InProcess(FakeCluster(), lambda _record: None) as worker:
        worker.parts.poller._trouble("UNKNOWN_TOPIC_OR_PART", "Subscribed topic not available: fenced-orders")
        assert worker.engine.end is None


@pytest.mark.parametrize(("rejoins", "code"), [(False, ExitCode.KAFKA_FATAL), (True, ExitCode.FENCED)])
def test_p4_only_a_member_can_be_fenced_by_another_one(rejoins: bool, code: ExitCode) -> None:
    """A commit that waited for a broker longer than its membership lasted is answered as fencing."""
    with InProcess(_cluster(b"a"), lambda _record: None) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.joined_at is not None)
        worker.source.revoke(PLACE, lost=True)
        if rejoins:
            worker.source.assign(PLACE)
        worker.source.script(lambda: worker.parts.committer.committed([(PLACE, 1, "FENCED_INSTANCE_ID")]))

        worker.until(lambda: worker.engine.end)

        assert worker.engine.end is not None
        assert worker.engine.end[0] == code


def test_a_dead_letter_that_is_answered_twice_late_or_at_once_counts_once() -> None:
    cluster = _cluster(b"bad", b"bad", b"good")
    futures: list[Future[None]] = []

    def process(record: Record) -> None:
        if record.value == b"bad":
            raise ValueError

    def sink(_letter: Letter) -> Future[None]:
        future: Future[None] = Future()
        if len(futures) == 1:
            future.set_result(None)
        futures.append(future)
        return future

    letters = DeadLetterSpec("dlq_kafka", "", "dlq", 0.2)
    with InProcess(cluster, process, sink=sink, retry=ONCE, dead_letters=letters) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(futures) == 3)
        futures[0].set_result(None)
        futures[2].set_result(None)

        worker.until(lambda: cluster.committed.get(PLACE) == 3)
        assert worker.engine.counters.dead_lettered == 2


def test_p1_a_late_answer_to_one_dead_letter_does_not_settle_the_next_of_its_lane() -> None:
    cluster = _cluster(b"first", b"second")
    unanswered: list[tuple[int, Future[None]]] = []
    is_up = threading.Event()

    def process(_record: Record) -> None:
        raise ValueError

    def sink(letter: Letter) -> Future[None] | None:
        if is_up.is_set() or (letter.source_offset == 0 and unanswered):
            return None
        unanswered.append((letter.source_offset, Future()))
        return unanswered[-1][1]

    letters = DeadLetterSpec("dlq_kafka", "", "dlq", 0.2)
    with InProcess(cluster, process, sink=sink, retry=ONCE, dead_letters=letters) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(unanswered) > 1 and worker.engine.lanes.blocked)
        assert [offset for offset, _ in unanswered][:2] == [0, 1]
        unanswered[0][1].set_result(None)

        assert worker.engine.counters.dead_lettered == 1
        is_up.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 2)


def test_p3_runs_that_pass_an_unsettled_record_count_toward_the_gap() -> None:
    cluster = _cluster(b"bad", *[b"good"] * 40)
    begun: list[int] = []
    letters: list[Future[None]] = []

    def process(record: Record) -> None:
        begun.append(record.offset)
        if record.value == b"bad":
            raise ValueError

    def sink(_letter: Letter) -> Future[None]:
        letters.append(Future())
        return letters[-1]

    with InProcess(cluster, process, sink=sink, retry=ONCE, ordering=Ordering.NONE, max_gap=10) as worker:
        worker.source.chunk = lambda limit: limit if begun else 4
        worker.source.assign(PLACE)
        worker.until(lambda: letters and PLACE in worker.source.paused)

        assert max(begun) < 10
        letters[-1].set_result(None)
        worker.until(lambda: cluster.committed.get(PLACE) == 41)


def test_p2_what_a_batch_leaves_undone_while_stopping_is_given_back_as_a_whole() -> None:
    cluster = _cluster(*[b"x"] * 3)
    free = threading.Event()
    calls: list[tuple[int, ...]] = []

    def batch(records: Sequence[Record]) -> list[BaseException | None]:
        calls.append(tuple(record.offset for record in records))
        free.wait(5)
        return [ValueError()] * len(records)

    with InProcess(cluster, process_batch=batch, batch=BatchSpec(3, 0.0)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: calls)
        stopper = threading.Thread(target=worker.stop)
        stopper.start()
        worker.until(lambda: worker.engine.stopping)
        free.set()
        stopper.join(10)

    assert calls == [(0, 1, 2)]
    assert cluster.committed == {PLACE: 0}


def test_a_record_that_failed_in_a_batch_has_one_attempt_less_alone() -> None:
    cluster = _cluster(*[b"x"] * 2)
    attempts: list[tuple[int, int]] = []

    def batch(records: Sequence[Record]) -> list[BaseException | None]:
        attempts.extend((record.offset, record.attempt) for record in records)
        alone = records[0].attempt > 1
        return [None if alone and record.offset == 0 else ValueError() for record in records]

    retry = RetrySpec(attempts=2, backoff=Backoff(0.0, 1.0, 0.0, 0.0))
    with InProcess(cluster, process_batch=batch, retry=retry, batch=BatchSpec(2, 0.0)) as worker:
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 2)
        assert attempts == [(0, 1), (1, 1), (0, 2), (1, 2)]


def test_p1_p2_a_record_that_fails_in_its_revoke_is_not_begun_again_before_the_last_commit() -> None:
    cluster = _cluster(b"good", b"bad")
    begun: list[int] = []
    begun_meanwhile: list[int] = []

    def process(record: Record) -> None:
        if record.value == b"bad":
            begun.append(record.attempt)
            time.sleep(0.1)
            raise ValueError

    retry = RetrySpec(attempts=100, backoff=Backoff(0.02, 1.0, 0.02, 0.0))
    with InProcess(cluster, process, concurrency=2, retry=retry) as worker:
        commit_now = worker.source.commit_now

        def slowly(offsets: Any, notes: Any = NO_NOTES) -> Any:
            before = len(begun)
            time.sleep(0.3)
            begun_meanwhile.append(len(begun) - before)
            return commit_now(offsets, notes)

        worker.source.commit_now = slowly  # type: ignore[method-assign]
        worker.source.assign(PLACE)
        # As though nothing had been committed before, so that the revoke has something to commit.
        worker.source.answers = lambda _place, offset: "_TIMED_OUT" if offset and not begun_meanwhile else None
        worker.until(lambda: len(begun) > 1)
        assert worker.source.revoke(PLACE).wait(5)
        assert begun_meanwhile == [0]
        assert cluster.committed == {PLACE: 1}


def test_p2_nothing_is_taken_between_the_last_look_of_a_revoke_and_its_fence() -> None:
    cluster = _cluster(b"a")
    taken: list[object] = []
    looked = threading.Event()

    with InProcess(cluster, lambda _record: None) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed.get(PLACE) == 1)
        engine, mutex, working = worker.engine, worker.engine.mutex, worker.engine.lanes.working

        class Mutex:
            """Lets another thread look for work as soon as the mutex is free again."""

            def __enter__(self) -> None:
                mutex.acquire()

            def __exit__(self, *error: object) -> None:
                mutex.release()
                if looked.is_set() and not taken:
                    with mutex:
                        taken.append(engine.lanes.take(now=time.monotonic()))

        def look(places: Any) -> int:
            if not looked.is_set():
                # What a batch left undone goes back into the line just now.
                engine.lanes.add("left", PLACE, (engine.owned[PLACE], cluster.records[PLACE][0]), size=0)
                looked.set()
            return working(places)

        engine.mutex = Mutex()  # type: ignore[assignment]
        engine.lanes.working = look  # type: ignore[method-assign]
        assert worker.source.revoke(PLACE).wait(5)

    assert taken == [None]


def test_p2_a_batch_whose_partition_was_lost_before_it_began_is_not_begun() -> None:
    cluster = _cluster(b"a")
    calls: list[int] = []
    taken: list[object] = []

    def batch(records: Sequence[Record]) -> None:
        calls.append(len(records))

    with InProcess(cluster, process_batch=batch, batch=BatchSpec(1, 0.0)) as worker:
        engine, mutex, take = worker.engine, worker.engine.mutex, worker.engine.lanes.take
        engine.mean = 1.0  # so that batches come by lanes

        class Mutex:
            """Has the partition lost as soon as a thread has taken its lane and left the mutex."""

            def __enter__(self) -> None:
                mutex.acquire()

            def __exit__(self, *error: object) -> None:
                mutex.release()
                if taken == ["lane"]:
                    taken.append("lost")
                    worker.parts.ownership.lost([PLACE])

        def note(*, now: float) -> Any:
            lane = take(now=now)
            if lane is not None:
                taken.append("lane")
            return lane

        engine.mutex = Mutex()  # type: ignore[assignment]
        engine.lanes.take = note  # type: ignore[method-assign]
        worker.source.assign(PLACE)
        worker.until(lambda: "lost" in taken and not engine.lanes.count)

    assert not calls


def test_a_last_commit_that_is_refused_is_sent_again_though_nothing_more_settles() -> None:
    cluster = _cluster(b"a")
    refused: list[int] = []

    def answer(_place: tuple[str, int], offset: int) -> str | None:
        if offset == 1 and not refused:
            refused.append(offset)
            return "ILLEGAL_GENERATION"
        return None

    with InProcess(cluster, lambda _record: None) as worker:
        worker.source.answers = answer
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 1)
        assert refused


def test_p6_a_partition_that_stands_still_leaves_room_for_the_others() -> None:
    other = ("t", 1)
    cluster = _cluster(*[b"stuck"] * 100)
    for _ in range(100):
        cluster.add(other, b"good")
    free = threading.Event()

    def process(record: Record) -> None:
        if record.value == b"stuck":
            free.wait(10)

    with InProcess(cluster, process, concurrency=2, queue_records=20) as worker:
        worker.source.assign(PLACE, other)
        worker.until(lambda: cluster.committed.get(other) == 100)

        for _ in range(100):
            cluster.add(other, b"good")
        worker.until(lambda: cluster.committed.get(other) == 200)
        assert cluster.committed.get(PLACE, 0) == 0
        free.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 100)
