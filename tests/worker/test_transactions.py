"""``delivery = "exactly-once"`` on an engine with fakes: what may not be lost, told twice, or stand still for ever."""

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.exits import ExitCode
from supervisor.core.spec import CommitSpec, DeadLetterSpec, Delivery, Ordering, RetrySpec, RetryTier, Then
from supervisor.kafka.transactions import AbortedError, CrowdedError, FatalError, RefusedError
from supervisor.plugin import Letter, Produce, Record
from tests.worker.fake_source import FakeCluster, Place
from tests.worker.fake_transactions import Tagged
from tests.worker.in_process import PLACE, InProcess

OTHER = ("t", 1)
NO_RETRY = RetrySpec(attempts=1, backoff=Backoff(0.0, 1.0, 0.0, 0.0))


def _cluster(records: int, *places: Place) -> FakeCluster:
    cluster = FakeCluster()
    for place in places or (PLACE,):
        for at in range(records):
            cluster.add(place, b"%d" % at, b"%d" % at)
    return cluster


def _once(cluster: FakeCluster, process: Any, **changes: Any) -> InProcess:
    wanted = {"delivery": Delivery.EXACTLY_ONCE, "commit": CommitSpec("manual", 1000, 0.02), **changes}
    return InProcess(cluster, process, **wanted)


def _forward(record: Record) -> Produce:
    return Produce("out", key=record.key, value=record.value)


def test_the_first_transaction_of_an_ownership_speaks_for_the_member_that_owns_it() -> None:
    """With what was known of the group before the join, brokers answer FENCED_INSTANCE_ID."""
    cluster = _cluster(3)
    free = threading.Event()

    def process(_record: Record) -> None:
        free.wait(0.3)

    with _once(cluster, process) as worker:

        def fence(_outputs: Tagged, metadata: object) -> None:
            if metadata in (None, -1):
                raise AbortedError("FENCED_INSTANCE_ID")

        worker.transactional.judge = fence
        worker.source.assign(PLACE)
        worker.until(lambda: worker.transactional.runs)

        assert worker.transactional.runs[0][2] == 0
        free.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 3)
        assert worker.engine.end is None


def test_a_transaction_in_the_name_of_a_member_id_that_was_given_up_is_aborted_and_tried_again() -> None:
    """A worker that was thrown out and joined again has a new member id; only the consumer can tell real fencing."""
    cluster = _cluster(3)
    with _once(cluster, _forward) as worker:
        answers = iter(["FENCED_INSTANCE_ID"])

        def fence(_outputs: Tagged, _metadata: object) -> None:
            for code in answers:
                raise AbortedError(code)

        worker.transactional.judge = fence
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 3 or worker.engine.end)
        assert worker.engine.end is None


def test_p9_a_transactional_id_that_may_not_be_used_is_a_matter_of_configuration() -> None:
    cluster = _cluster(3)
    with _once(cluster, _forward) as worker:

        def refuse(_outputs: Tagged, _metadata: object) -> None:
            raise FatalError("TRANSACTIONAL_ID_AUTHORIZATION_FAILED")

        worker.transactional.judge = refuse
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.end)

        assert worker.engine.end is not None
        assert worker.engine.end[0] == ExitCode.CONFIG
        assert "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" in worker.engine.end[1]


@pytest.mark.parametrize("code", ["_FENCED", "_FATAL"])
def test_a_producer_that_was_fenced_ends_the_worker_as_fenced_once_the_consumer_hears_of_it(code: str) -> None:
    """Two supervisors of one name: which client is told first is chance, and only one way leads to an alert."""
    cluster = _cluster(3)
    with _once(cluster, _forward) as worker:

        def fence(_outputs: Tagged, _metadata: object) -> None:
            worker.source.script(lambda: None).wait(2)  # the consumer hears nothing at first
            worker.source.script(lambda: worker.parts.poller.client_error("_FATAL", "fenced by another consumer"))
            raise FatalError(code)

        worker.transactional.judge = fence
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.end)

        assert worker.engine.end is not None
        assert worker.engine.end[0] == ExitCode.FENCED


def _refuse_outputs(outputs: Tagged, _metadata: object) -> None:
    for tag, output in outputs:
        if output.topic == "out" and output.value == b"1":
            raise RefusedError("MSG_SIZE_TOO_LARGE", tag)


def _raise(_letter: Letter) -> None:
    raise OSError


def _broken_future(_letter: Letter) -> "Future[None]":
    future: Future[None] = Future()
    future.set_exception(OSError())
    return future


@pytest.mark.parametrize("wrong", [lambda _letter: "written?", _raise, _broken_future])
def test_p1_a_refused_output_is_not_passed_before_a_sink_took_its_dead_letter(wrong: Any) -> None:
    cluster = _cluster(3)
    letters: list[Letter] = []
    works = threading.Event()

    def sink(letter: Letter) -> object:
        if not works.is_set():
            return wrong(letter)
        letters.append(letter)
        return None

    with _once(cluster, _forward, sink=sink) as worker:
        worker.transactional.judge = _refuse_outputs
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.transactional.runs) > 3)

        assert cluster.committed.get(PLACE, 0) < 2
        works.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 3, timeout=8)
        assert [letter.source_offset for letter in letters] == [1]
        assert [one.value for one in worker.transactional.written] == [b"0", b"2"]


def test_a_dead_letter_that_is_refused_holds_back_its_own_partition_only() -> None:
    cluster = _cluster(20, PLACE, OTHER)
    refused = threading.Event()

    def process(record: Record) -> Produce:
        if record.partition == 0 and record.offset == 5:
            raise ValueError
        return _forward(record)

    def judge(outputs: Tagged, _metadata: object) -> None:
        for tag, output in outputs:
            if output.topic == "dlq" and not refused.is_set():
                raise RefusedError("MSG_SIZE_TOO_LARGE", tag)

    sink = lambda letter: Produce("dlq", value=letter.value)  # noqa: E731
    with _once(cluster, process, sink=sink, retry=NO_RETRY, ordering=Ordering.KEY) as worker:
        worker.transactional.judge = judge
        worker.source.assign(PLACE, OTHER)

        worker.until(lambda: cluster.committed.get(OTHER) == 20)
        worker.until(lambda: cluster.committed.get(PLACE) == 5)
        events = [frame for frame in worker.link.frames if frame.get("name") == "dead_letter.unwritten"]
        assert len(events) == 1
        refused.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 20, timeout=8)


def test_a_dead_letter_whose_topic_does_not_answer_is_left_out_and_all_else_goes_on() -> None:
    """Too few replicas, for example: a transaction is all partitions, and each would wait it out."""
    cluster = _cluster(20, PLACE, OTHER)
    is_mute = [True]

    def process(record: Record) -> Produce:
        if record.partition == 0 and record.offset == 5:
            raise ValueError
        return _forward(record)

    def judge(outputs: Tagged, _metadata: object) -> None:
        waiting = tuple(tag for tag, output in outputs if output.topic == "dlq")
        if waiting and is_mute[0]:
            raise AbortedError("_TIMED_OUT", waiting)

    sink = lambda letter: Produce("dlq", value=letter.value)  # noqa: E731
    with _once(cluster, process, sink=sink, retry=NO_RETRY, ordering=Ordering.KEY) as worker:
        worker.transactional.judge = judge
        worker.source.assign(PLACE, OTHER)

        worker.until(lambda: cluster.committed.get(OTHER) == 20)
        worker.until(lambda: cluster.committed.get(PLACE) == 5)
        is_mute[0] = False
        worker.until(lambda: cluster.committed.get(PLACE) == 20, timeout=8)
        names = [frame.get("name") for frame in worker.link.frames]
    assert names.count("dead_letter.unwritten") == names.count("dead_letter.recovered") == 1


def test_a_dead_letter_that_its_topic_refuses_in_the_transaction_goes_to_the_fallback() -> None:
    cluster = _cluster(6)
    spooled: list[Letter] = []

    def process(record: Record) -> Produce:
        if record.offset == 2:
            raise ValueError
        return _forward(record)

    def judge(outputs: Tagged, _metadata: object) -> None:
        for tag, output in outputs:
            if output.topic == "dlq":
                raise RefusedError("MSG_SIZE_TOO_LARGE", tag)

    letters = DeadLetterSpec("dlq_kafka", "spool", "dlq", 1.0)
    sink = lambda letter: Produce("dlq", value=letter.value, headers=letter.headers)  # noqa: E731
    with _once(
        cluster, process, sink=sink, fallback=("spool", spooled.append), retry=NO_RETRY, dead_letters=letters
    ) as worker:
        worker.transactional.judge = judge
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 6)
        (moved,) = [frame for frame in worker.link.frames if frame.get("name") == "dead_letter.moved"]
    (letter,) = spooled
    assert "supervisor.dlq.exception-stack" in dict(letter.headers), "the fallback is given all of it"
    assert moved["fields"]["audit_id"] == letter.audit_id
    assert not [frame for frame in worker.link.frames if frame.get("name") == "dead_letter.unwritten"]


def test_a_copy_that_its_retry_topic_refuses_in_the_transaction_is_a_dead_letter_of_the_records_own_failure() -> None:
    cluster = _cluster(3)
    letters: list[Letter] = []
    tiers = (RetryTier("1h", 3600.0),)
    retry = RetrySpec(attempts=2, backoff=Backoff(0.0, 1.0, 0.0, 0.0), then=Then.TOPIC, tiers=tiers)

    def process(record: Record) -> None:
        if record.offset == 1:
            raise LookupError

    def judge(outputs: Tagged, _metadata: object) -> None:
        for tag, _ in outputs:
            raise RefusedError("MSG_SIZE_TOO_LARGE", tag)

    with _once(cluster, process, sink=letters.append, retry=retry, ordering=Ordering.NONE) as worker:
        worker.parts.retry_topics.there.add("t.retry.1h")
        worker.transactional.judge = judge
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed.get(PLACE) == 3)

    (letter,) = letters
    header = dict(letter.headers)
    assert letter.disposition == "error"
    assert header["supervisor.dlq.attempts"] == b"2"
    assert header["supervisor.dlq.exception-type"] == b"builtins.LookupError"
    assert header["supervisor.dlq.reason"] == b"its retry topic refused it: MSG_SIZE_TOO_LARGE"


def test_the_search_for_a_refused_output_is_made_in_small_transactions_however_many_partitions_there_are() -> None:
    """Each output is flushed alone: more than some hundreds would outlast the transaction's time, for ever."""
    places = [("t", at) for at in range(10)]
    cluster = _cluster(60, *places)

    def judge(outputs: Tagged, _metadata: object) -> None:
        one_by_one = worker.transactional.runs[-1][1]
        for tag, output in outputs:
            if output.value == b"30" and output.topic == "out":
                raise RefusedError("MSG_SIZE_TOO_LARGE", tag) if one_by_one else CrowdedError("MSG_SIZE_TOO_LARGE")

    with _once(cluster, _forward, commit=CommitSpec("manual", 1000, 0.2)) as worker:
        worker.transactional.judge = judge
        worker.source.assign(*places)

        worker.until(lambda: cluster.committed == cluster.ends, timeout=15)
        assert max(outputs for outputs, one_by_one, _ in worker.transactional.runs if one_by_one) <= 100


def test_p6_outputs_behind_one_stuck_record_leave_room_for_other_partitions() -> None:
    cluster = _cluster(200, PLACE)
    free = threading.Event()

    def process(record: Record) -> Produce:
        if record.partition == 0 and record.offset == 0:
            free.wait(10)
        return _forward(record)

    with _once(cluster, process, ordering=Ordering.KEY, concurrency=3, queue_records=40) as worker:
        worker.source.assign(PLACE, OTHER)
        worker.until(lambda: worker.parts.outlet.held >= 20)
        for at in range(200):
            cluster.add(OTHER, b"%d" % at, b"%d" % at)

        worker.until(lambda: cluster.committed.get(OTHER) == 200, timeout=8)
        assert cluster.committed.get(PLACE, 0) == 0
        free.set()
        worker.until(lambda: cluster.committed.get(PLACE) == 200, timeout=8)
