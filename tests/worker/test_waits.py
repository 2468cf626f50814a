"""Records from retry topics inside one worker: waited out with nothing held, skipped, refused, sought back (P1, P6)."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.board import H_WAIT, Wait
from supervisor.core.letters import Profile
from supervisor.core.retry_topics import Copy, copy_headers
from supervisor.core.spec import DeadLetterSpec, Ordering, RetrySpec, RetryTier, Then
from supervisor.kafka.producer import ProduceError
from supervisor.plugin import Drop, Failure, Letter, Produce, Record, RetryTopic
from supervisor.plugin.front import key_function
from supervisor.worker import waits
from supervisor.worker.returned import Later, Returned
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, FakeOutputs, InProcess

WAITING = ("t.retry.1h", 0)
LAST = ("t.retry.2h", 0)
TIERS = (RetryTier("1h", 3600.0), RetryTier("2h", 7200.0))
RETRY = RetrySpec(1, Backoff(0.001, 1.0, 0.001, 0.0), then=Then.TOPIC, tiers=TIERS)
SPRING = DeadLetterSpec("dlq_kafka", "", "{topic}.dlq", 10.0, headers=Profile.SPRING)
OPTIONS: dict[str, Any] = {"retry": RETRY, "ordering": Ordering.NONE, "concurrency": 2}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def add_copy(
    cluster: FakeCluster, place: tuple[str, int], value: bytes, *, due: float, group: str = "g", offset: int = 7
) -> int:
    """Append a copy that is due in so many seconds; its first self was at ``offset`` of PLACE."""
    now = time.time()
    copy = Copy(group, *PLACE, offset, timestamp=1.0, attempts=3, first_failed_at=now - 60, not_before=now + due)
    headers = list(copy_headers((("trace", b"1"),), copy, error="E"))
    return cluster.add(place, value, headers=headers)


def fail(_record: Record) -> None:
    raise ValueError


def copies_of(worker: InProcess) -> list[tuple[str, dict[str, str]]]:
    return [(topic, {name: value.decode() for name, value in headers}) for topic, headers in worker.outputs.letters]


def start(cluster: FakeCluster, process: Callable[[Any], object], **changes: Any) -> InProcess:
    worker = InProcess(cluster, process, **{**OPTIONS, **changes})
    worker.parts.retry_topics.there |= {WAITING[0], LAST[0]}
    return worker


def test_what_is_not_due_is_not_held_and_its_partition_rests_while_others_go_on(cluster: FakeCluster) -> None:
    add_copy(cluster, WAITING, b"later", due=3600)
    cluster.add(PLACE, b"now")
    seen: list[Record] = []

    with start(cluster, seen.append) as worker:
        worker.source.assign(PLACE, WAITING)
        worker.until(lambda: worker.engine.counters.settled == 1)
        worker.until(lambda: WAITING in worker.source.paused)
        worker.until(lambda: worker.engine.board.words[H_WAIT] == Wait.RETRY)

        assert worker.engine.queued == 0
        assert PLACE not in worker.source.paused
    assert [record.topic for record in seen] == ["t"]
    assert cluster.committed.get(WAITING, 0) == 0


def test_p1_a_partition_goes_on_with_the_very_record_it_waited_for(cluster: FakeCluster) -> None:
    add_copy(cluster, WAITING, b"first", due=-1)
    add_copy(cluster, WAITING, b"second", due=0.3)
    add_copy(cluster, WAITING, b"third", due=0.3)
    seen: list[bytes | None] = []

    with start(cluster, lambda record: seen.append(record.value), concurrency=1) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: seen == [b"first"])
        worker.until(lambda: WAITING in worker.source.paused)
        worker.until(lambda: len(seen) == 3)

    assert seen == [b"first", b"second", b"third"]
    assert cluster.committed[WAITING] == 3


def test_p1_a_seek_that_did_not_happen_is_noticed_and_nothing_is_passed_over(cluster: FakeCluster) -> None:
    for value in (b"first", b"second"):
        add_copy(cluster, WAITING, value, due=0.2)
    add_copy(cluster, WAITING, b"third", due=-1)
    seen: list[bytes | None] = []

    with start(cluster, lambda record: seen.append(record.value), concurrency=1) as worker:
        worker.source.refuses_seeks = True
        worker.source.chunk = lambda _limit: 1
        worker.source.assign(WAITING)
        worker.until(lambda: len(seen) == 3)

    assert seen == [b"first", b"second", b"third"]
    assert cluster.committed[WAITING] == 3


def test_p1_a_partition_that_cannot_be_sought_back_passes_over_nothing_and_the_worker_tries_again(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "AGAIN", 0.02)
    for value in (b"first", b"second"):
        add_copy(cluster, WAITING, value, due=0.2)
    add_copy(cluster, WAITING, b"third", due=-1)
    cluster.add(PLACE, b"elsewhere")
    cluster.committed = {WAITING: 0, PLACE: 0}
    seen: list[bytes | None] = []

    with start(cluster, lambda record: seen.append(record.value), concurrency=1) as worker:
        worker.source.refuses_seeks = True
        worker.source.refused_moves = 5
        worker.source.chunk = lambda _limit: 1
        worker.source.assign(WAITING)
        worker.until(lambda: worker.source.refused_moves < 5)
        worker.source.assign(PLACE)
        worker.until(lambda: seen)
        assert seen == [b"elsewhere"]
        assert cluster.committed.get(WAITING, 0) == 0
        worker.until(lambda: len(seen) == 4)

    assert seen == [b"elsewhere", b"first", b"second", b"third"]
    assert cluster.committed[WAITING] == 3


def test_p1_a_partition_that_went_before_it_could_be_sought_back_is_not_moved_in_its_next_life(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "AGAIN", 0.02)
    add_copy(cluster, WAITING, b"first", due=0.2)
    add_copy(cluster, WAITING, b"second", due=-1)
    cluster.committed = {WAITING: 0}
    seen: list[bytes | None] = []

    with start(cluster, lambda record: seen.append(record.value), concurrency=1) as worker:
        worker.source.refuses_seeks = True
        worker.source.refused_moves = 1000
        worker.source.chunk = lambda _limit: 1
        worker.source.assign(WAITING)
        worker.until(lambda: worker.source.refused_moves < 1000)
        worker.source.revoke(WAITING).wait(5)
        left = worker.source.refused_moves
        worker.source.assign(WAITING)
        worker.until(lambda: len(seen) == 2)

        assert worker.source.refused_moves == left
    assert seen == [b"first", b"second"]


def test_a_handler_sees_the_records_own_headers_its_first_coordinates_and_the_attempts_so_far(
    cluster: FakeCluster,
) -> None:
    add_copy(cluster, WAITING, b"x", due=-1)
    seen: list[Record] = []

    with start(cluster, seen.append) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: seen)

    (record,) = seen
    assert (record.topic, record.partition, record.offset) == (*WAITING, 0)
    assert record.origin == (*PLACE, 7)
    assert record.attempt == 4
    assert list(record.headers) == [("trace", b"1")]


def test_a_copy_has_the_idempotency_key_of_its_first_self(cluster: FakeCluster) -> None:
    add_copy(cluster, WAITING, b"x", due=-1)
    keys: list[str | None] = []

    with start(cluster, lambda record: keys.append(key_function("offset", "g")(record))) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: keys)

    assert keys == ["g/t/0/7"]


def test_a_record_that_is_no_copy_is_its_own_origin(cluster: FakeCluster) -> None:
    cluster.add(WAITING, b"by hand")
    seen: list[Record] = []

    with start(cluster, seen.append) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: seen)

    assert (seen[0].origin, seen[0].attempt) == ((*WAITING, 0), 1)


def test_a_failed_copy_goes_to_the_next_tier_and_after_the_last_it_is_the_first_ones_dead_letter(
    cluster: FakeCluster,
) -> None:
    letters: list[Letter] = []
    add_copy(cluster, WAITING, b"x", due=-1)
    add_copy(cluster, LAST, b"y", due=-1, offset=9)

    with start(cluster, fail, sink=letters.append) as worker:
        worker.source.assign(WAITING, LAST)
        worker.until(lambda: worker.engine.counters.settled == 2)

        ((topic, header),) = copies_of(worker)
        assert worker.engine.counters.copied == 1
    assert (topic, header["supervisor.retry.attempts"], header["supervisor.retry.offset"]) == (LAST[0], "4", "7")
    (letter,) = letters
    assert (letter.audit_id, letter.source_topic, letter.source_offset) == ("g/t/0/9", "t", 9)
    assert letter.topic == "t.dlq"


def test_another_groups_copy_is_passed_without_a_handler(cluster: FakeCluster) -> None:
    add_copy(cluster, WAITING, b"theirs", due=3600, group="h")
    add_copy(cluster, WAITING, b"ours", due=-1)
    seen: list[bytes | None] = []

    with start(cluster, lambda record: seen.append(record.value)) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: cluster.committed.get(WAITING) == 2)

    assert seen == [b"ours"]


def test_a_clock_that_goes_wrong_elsewhere_makes_no_record_wait_longer_than_its_tier(cluster: FakeCluster) -> None:
    add_copy(cluster, WAITING, b"x", due=10 * 3600)

    with start(cluster, fail) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: worker.engine.later)
        (owned,) = worker.engine.later

        assert owned.later is not None
        assert owned.later.due - time.monotonic() <= 3600


def test_a_record_that_waited_as_long_as_its_tier_is_due_whatever_the_clock_of_its_copy_said(
    cluster: FakeCluster,
) -> None:
    add_copy(cluster, WAITING, b"x", due=10 * 3600)
    seen: list[bytes | None] = []
    quick = replace(RETRY, tiers=(replace(TIERS[0], delay=0.2), TIERS[1]))

    with start(cluster, lambda record: seen.append(record.value), retry=quick) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: seen == [b"x"])


def test_p1_a_copy_is_as_old_as_its_writing_so_that_no_retention_deletes_it_and_its_record_keeps_its_own_time(
    cluster: FakeCluster,
) -> None:
    written: list[dict[str, Any]] = []
    seen: list[Record] = []

    def send(topic: str, value: bytes | None, *, headers: Any = (), **more: Any) -> "Future[None]":
        written.append(more)
        return FakeOutputs.letter(worker.outputs, topic, value, headers=headers)

    def process(record: Record) -> None:
        seen.append(record)
        if record.topic == "t":
            raise ValueError

    cluster.add(PLACE, b"x")
    with start(cluster, process) as worker:
        worker.parts.outcomes.outlet._send = send  # type: ignore[attr-defined]
        worker.source.assign(PLACE, WAITING)
        worker.until(lambda: written)
        ((_, header),) = copies_of(worker)
        add_copy(cluster, WAITING, b"x", due=-1)
        worker.until(lambda: len(seen) == 2)

    assert written[0]["timestamp"] is None
    assert header["supervisor.retry.timestamp"] == "0.001"
    assert (seen[1].timestamp, seen[1].timestamp_type) == (1.0, "CreateTime")


def test_a_record_that_its_broker_stamped_says_so_after_its_copies_too_and_in_its_dead_letter(
    cluster: FakeCluster,
) -> None:
    letters: list[Letter] = []
    cluster.add(PLACE, b"x", timestamp=(2, 5000))

    quick = replace(RETRY, tiers=(replace(TIERS[0], delay=0.01), TIERS[1]))
    with start(cluster, fail, sink=letters.append, dead_letters=SPRING, retry=quick) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.copied == 1)
        ((_, header),) = worker.outputs.letters
        cluster.add(LAST, b"x", headers=list(header))
        worker.source.assign(LAST)
        worker.until(lambda: letters)

    told = dict(letters[0].headers)
    assert told["kafka_dlt-original-timestamp-type"] == b"LogAppendTime"
    assert int.from_bytes(told["kafka_dlt-original-timestamp"] or b"", "big") == 5000


def test_p1_a_record_that_was_put_into_a_retry_topic_by_hand_goes_on_to_the_next_tier(cluster: FakeCluster) -> None:
    cluster.add(WAITING, b"by hand")

    with start(cluster, fail) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: worker.engine.counters.copied == 1)

        assert [topic for topic, _ in copies_of(worker)] == [LAST[0]]


def test_the_dead_letter_of_a_refused_copy_is_written_by_a_handlers_thread_not_by_the_one_that_serves_reports(
    cluster: FakeCluster,
) -> None:
    reports: list[Future[None]] = []
    writers: list[str] = []

    def send(_topic: str, _value: bytes | None, **_more: Any) -> "Future[None]":
        reports.append(Future())
        return reports[-1]

    def sink(_letter: Letter) -> None:
        writers.append(threading.current_thread().name)

    cluster.add(PLACE, b"x")
    with start(cluster, fail, sink=sink) as worker:
        worker.parts.outcomes.outlet._send = send  # type: ignore[attr-defined]
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.lanes.blocked == 1)
        refused = ProduceError("MSG_SIZE_TOO_LARGE", "too large")
        threading.Thread(target=reports[0].set_exception, args=(refused,), name="deliveries").start()
        worker.until(lambda: worker.engine.counters.settled == 1)

    assert len(writers) == 1
    assert writers[0].startswith("handler-")


def test_p1_a_copy_waits_for_its_topic_to_be_there(cluster: FakeCluster) -> None:
    cluster.add(PLACE, b"x")

    with start(cluster, fail) as worker:
        worker.parts.retry_topics.there.clear()
        worker.source.assign(PLACE)
        worker.until(lambda: [frame for frame in worker.link.frames if frame.get("name") == "retry_topic.unwritten"])
        assert worker.outputs.letters == []
        assert cluster.committed.get(PLACE, 0) == 0

        worker.parts.retry_topics.there.add(WAITING[0])
        worker.until(lambda: worker.engine.counters.copied == 1)
        worker.until(lambda: [frame for frame in worker.link.frames if frame.get("name") == "retry_topic.recovered"])


@pytest.mark.parametrize(("after", "topic"), [(None, WAITING[0]), (1.0, WAITING[0]), (4000, LAST[0])])
def test_a_policy_may_choose_the_retry_topic(cluster: FakeCluster, after: float | None, topic: str) -> None:
    cluster.add(PLACE, b"x")

    with start(cluster, fail, policy=lambda _failure: RetryTopic(after)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.copied == 1)

        assert [found for found, _ in copies_of(worker)] == [topic]


def test_a_policy_that_wants_a_retry_topic_where_there_is_none_is_a_broken_one(cluster: FakeCluster) -> None:
    letters: list[Letter] = []
    cluster.add(PLACE, b"x")

    def policy(_failure: Failure) -> RetryTopic:
        return RetryTopic()

    with InProcess(cluster, fail, sink=letters.append, policy=policy) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 1)

    assert [letter.disposition for letter in letters] == ["plugin-error"]


def test_outputs_of_a_copy_are_produced_as_any_records(cluster: FakeCluster) -> None:
    add_copy(cluster, WAITING, b"x", due=-1)

    with start(cluster, lambda _record: Produce("out", value=b"y")) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: worker.outputs.sent)
        worker.outputs.confirm(0)
        worker.until(lambda: cluster.committed.get(WAITING) == 1)


def test_p1_an_end_that_comes_alone_behind_a_record_that_was_not_due_commits_nothing_and_it_comes_again(
    cluster: FakeCluster,
) -> None:
    seen: list[int] = []
    with start(cluster, lambda record: seen.append(record.attempt)) as worker:
        add_copy(cluster, WAITING, b"soon", due=3600)
        worker.source.assign(WAITING)
        worker.until(lambda: WAITING in worker.engine.owned and worker.engine.owned[WAITING].later is not None)
        owned = worker.engine.owned[WAITING]

        poller = worker.parts.poller
        with worker.engine.mutex:
            owned.later = Later(0.0, 0)  # it was due before anybody could pause its partition
            poller._partition_end(WAITING, 1)

            assert owned.offsets.committable() in {None, 0}
            assert poller._waits._jumped == {WAITING: owned}


def test_p1_a_record_that_is_due_before_the_next_poll_comes_again_though_nothing_else_does(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1e-9]
    monkeypatch.setattr(Returned, "wait", lambda *_: left.pop() if left else 0.0)
    add_copy(cluster, WAITING, b"x", due=-1)
    seen: list[bytes | None] = []

    with start(cluster, lambda record: seen.append(record.value)) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: cluster.committed.get(WAITING) == 1)

    assert seen == [b"x"]


@pytest.mark.parametrize("in_batches", [False, True])
def test_a_copy_that_comes_again_while_its_first_delivery_is_in_hand_goes_on_counting_its_attempts(
    cluster: FakeCluster, *, in_batches: bool
) -> None:
    add_copy(cluster, WAITING, b"x", due=-1)
    seen: list[Record] = []
    failures: list[Failure] = []
    go_on = threading.Event()

    def process(records: Any) -> None:
        seen.extend(records if in_batches else [records])
        go_on.wait(5)
        raise ValueError

    def policy(failure: Failure) -> Drop:
        failures.append(failure)
        return Drop("seen")

    handler: dict[str, Any] = {"process_batch" if in_batches else "process": process}
    with InProcess(cluster, policy=policy, **handler, **OPTIONS) as worker:
        worker.source.assign(WAITING)
        worker.until(lambda: seen)
        worker.source.revoke(WAITING, lost=True)
        worker.source.assign(WAITING)
        worker.until(lambda: worker.engine.lanes.count == 2)
        go_on.set()
        worker.until(lambda: worker.engine.counters.dropped == 1)

    assert [record.attempt for record in seen] == [4, 4]
    assert failures[-1].failed_at - failures[-1].first_failed_at >= 60
