"""P1: a record whose outputs are not confirmed is not settled, whatever else happens; on an engine with fakes."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from supervisor.core.spec import BatchSpec, Ordering
from supervisor.plugin import Letter, Produce, Record
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess


def _cluster(records: int) -> FakeCluster:
    cluster = FakeCluster()
    for _ in range(records):
        cluster.add(PLACE, b"v")
    return cluster


def _forward(record: Record) -> Produce:
    return Produce("out", value=record.value)


def _forward_odd(record: Record) -> Produce | None:
    return _forward(record) if record.offset % 2 else None


def _confirm(worker: InProcess, outputs: int) -> None:
    for at in range(outputs):
        worker.outputs.confirm(at)


def _wait_for_more(worker: InProcess, seen: int) -> None:
    worker.until(lambda: len(worker.outputs.sent) > seen)


def test_p1_what_is_confirmed_in_any_order_is_committed_only_up_to_the_first_that_is_not() -> None:
    cluster = _cluster(6)
    with InProcess(cluster, _forward_odd) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 3)

        worker.until(lambda: cluster.committed.get(PLACE) == 1)
        worker.outputs.confirm(2)
        worker.outputs.confirm(1)
        worker.until(lambda: worker.engine.counters.settled == 5)
        assert cluster.committed[PLACE] == 1
        worker.outputs.confirm(0)
        worker.until(lambda: cluster.committed[PLACE] == 6)


@pytest.mark.parametrize("ordering", list(Ordering))
def test_p1_records_behind_an_unconfirmed_one_go_on_and_wait_with_it(ordering: Ordering) -> None:
    cluster = _cluster(1)
    with InProcess(cluster, _forward, ordering=ordering, concurrency=2) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 1)
        for _ in range(20):
            cluster.add(PLACE, b"v")

        worker.until(lambda: len(worker.outputs.sent) == 21)
        for at in range(1, 21):
            worker.outputs.confirm(at)
        worker.until(lambda: worker.engine.counters.settled == 20)
        assert cluster.committed.get(PLACE, 0) == 0
        worker.outputs.confirm(0)
        worker.until(lambda: cluster.committed[PLACE] == 21)


def test_p1_a_partition_given_up_commits_nothing_unconfirmed_and_a_late_confirmation_counts_for_nothing() -> None:
    cluster = _cluster(3)
    with InProcess(cluster, _forward, revoke_timeout=0.1) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 3)
        worker.outputs.confirm(0)

        assert worker.source.revoke(PLACE).wait(5)
        assert cluster.committed[PLACE] == 1
        worker.outputs.confirm(1)
        worker.outputs.confirm(2)
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 5)
        assert cluster.committed[PLACE] == 1
        for at in (3, 4):
            worker.outputs.confirm(at)
        worker.until(lambda: cluster.committed[PLACE] == 3)


def test_p1_a_revoke_waits_for_confirmations_that_come_in_time() -> None:
    cluster = _cluster(3)
    with InProcess(cluster, _forward, revoke_timeout=5.0) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 3)
        given_up = worker.source.revoke(PLACE)
        worker.until(lambda: worker.engine.revoking)
        for at in range(3):
            worker.outputs.confirm(at)

        assert given_up.wait(3)
        assert cluster.committed[PLACE] == 3


def test_p1_an_output_that_is_refused_makes_its_record_a_dead_letter_once_it_was_tried_alone() -> None:
    cluster = _cluster(2)
    letters: list[Letter] = []
    with InProcess(cluster, _forward, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 2)
        worker.outputs.confirm(0, "MSG_SIZE_TOO_LARGE")
        worker.outputs.confirm(1, "MSG_SIZE_TOO_LARGE")
        worker.until(lambda: len(worker.outputs.sent) == 4)

        assert letters == []
        worker.outputs.confirm(2, "MSG_SIZE_TOO_LARGE")
        worker.outputs.confirm(3)
        worker.until(lambda: cluster.committed.get(PLACE) == 2)
        assert [letter.source_offset for letter in letters] == [0]


def test_p1_an_output_that_fails_for_another_reason_ends_the_worker_and_commits_nothing() -> None:
    cluster = _cluster(1)
    with InProcess(cluster, _forward) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.outputs.sent)
        worker.outputs.confirm(0, "TOPIC_AUTHORIZATION_FAILED")

        worker.until(lambda: worker.outputs.failures == ["TOPIC_AUTHORIZATION_FAILED"])
        assert cluster.committed.get(PLACE, 0) == 0


def test_p6_unconfirmed_outputs_count_for_the_bound_of_the_queue() -> None:
    cluster = _cluster(50)
    with InProcess(cluster, _forward, queue_records=10) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 10)

        assert not threading.Event().wait(0.3)
        assert len(worker.outputs.sent) == 10
        confirmed = 0
        while confirmed < 50:
            _wait_for_more(worker, confirmed)
            while confirmed < len(worker.outputs.sent):
                worker.outputs.confirm(confirmed)
                confirmed += 1
        worker.until(lambda: cluster.committed.get(PLACE) == 50)


def test_p1_a_stop_waits_for_confirmations_that_come_in_time() -> None:
    cluster = _cluster(3)
    with InProcess(cluster, _forward) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 3)
        confirm = threading.Timer(0.3, lambda: _confirm(worker, 3))
        confirm.start()

        assert worker.stop()
        confirm.join()
    assert cluster.committed.get(PLACE) == 3


def test_p2_batches_stay_in_order_while_the_dead_letter_of_an_earlier_one_is_under_way() -> None:
    cluster = _cluster(3)
    batches: list[list[int]] = []

    def process_batch(records: Sequence[Record]) -> list[Produce]:
        batches.append([record.offset for record in records])
        return [_forward(record) for record in records]

    def sink(_letter: Letter) -> "Future[None]":
        return Future()

    batch = BatchSpec(2, 0.5)
    with InProcess(cluster, process_batch=process_batch, sink=sink, batch=batch, concurrency=3) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 2)
        worker.outputs.confirm(1)
        worker.outputs.confirm(0, "INVALID_TIMESTAMP")
        worker.until(lambda: worker.engine.lanes.blocked == 1)
        for _ in range(3):
            cluster.add(PLACE, b"v")

        worker.until(lambda: sum(map(len, batches)) == 6)
        assert [at for batch in batches for at in batch] == list(range(6))
