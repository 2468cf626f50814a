"""Failures that say a dependency is down: the worker begins nothing until a probe gets through, and loses nothing."""

import threading
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.board import Wait
from supervisor.core.cases import Case, Evidence
from supervisor.core.jsonable import to_json
from supervisor.core.spec import BreakerOrder, BreakerSpec, Ordering
from supervisor.plugin import DeadLetter, DependencyDown, DependencyDownError, Failure, Letter, Record
from supervisor.worker.report import stated_wait
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

QUICK = BreakerSpec(probe=Backoff(initial=0.01, factor=2.0, max=0.03, jitter=0.0))
NEVER = BreakerSpec(probe=Backoff(initial=60.0, factor=2.0, max=60.0, jitter=0.0))


class Dependency:
    """What handlers need: counts who asks while it is down."""

    def __init__(self) -> None:
        self.is_up = threading.Event()
        self.refused = 0
        self.done: list[tuple[int, int]] = []
        self.attempts: list[int] = []
        self._lock = threading.Lock()

    def process(self, record: Record) -> None:
        """Work one record, if the dependency is there."""
        with self._lock:
            if not self.is_up.is_set():
                self.refused += 1
                raise OSError from DependencyDownError(dependency="payments-db")
            self.done.append((record.partition, record.offset))
            self.attempts.append(record.attempt)


@pytest.fixture
def cluster() -> FakeCluster:
    return filled(3)


def filled(records: int, *, keys: int = 1) -> FakeCluster:
    cluster = FakeCluster()
    for number in range(records):
        cluster.add(PLACE, b"v", key=b"%d" % (number % keys))
    return cluster


def told(worker: InProcess) -> list[str]:
    """Return what the worker said of its breaker."""
    return [frame["state"] for frame in worker.link.frames if frame["type"] == "breaker"]


def obey(worker: InProcess, **order: Any) -> None:
    worker.parts.outcomes.breaker.obey(BreakerOrder(**order))


def test_a_record_whose_dependency_is_down_is_tried_until_it_is_back_and_no_attempt_counts(
    cluster: FakeCluster,
) -> None:
    letters: list[Letter] = []
    attempts: list[tuple[int, int]] = []

    def process(record: Record) -> None:
        attempts.append((record.offset, record.attempt))
        if record.offset == 1 and len(attempts) < 10:
            raise OSError from DependencyDownError(dependency="payments-db")

    with InProcess(cluster, process, sink=letters.append, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert attempts == [(0, 1), *[(1, 1)] * 9, (2, 1)]
    assert letters == []
    assert told(worker) == ["down"] * 8 + ["up"]


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("ordering", list(Ordering))
def test_while_a_dependency_is_down_only_one_record_at_a_time_tries_and_then_all_are_worked(
    ordering: Ordering, concurrency: int
) -> None:
    cluster, dependency, letters = filled(500, keys=20), Dependency(), list[Letter]()

    with InProcess(
        cluster,
        dependency.process,
        sink=letters.append,
        breaker=QUICK,
        ordering=ordering,
        concurrency=concurrency,
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: told(worker).count("down") == 6)
        refused = dependency.refused
        dependency.is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 500)

    assert refused <= concurrency + 6, "those in their handlers when it went down, then one by one"
    assert letters == []
    assert set(dependency.attempts) == {1}
    assert sorted(offset for _, offset in dependency.done) == list(range(500))
    if ordering is Ordering.PARTITION:
        assert [offset for _, offset in dependency.done] == list(range(500))


def test_nothing_is_read_and_the_wait_is_stated_while_a_dependency_is_down(cluster: FakeCluster) -> None:
    dependency = Dependency()

    with InProcess(cluster, dependency.process, breaker=NEVER) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: PLACE in worker.source.paused)
        with worker.engine.mutex:
            assert stated_wait(worker.engine) is Wait.BREAKER
        assert dependency.refused == 1


def test_a_worker_that_is_told_to_hold_begins_nothing_and_one_told_to_go_on_works_at_once(
    cluster: FakeCluster,
) -> None:
    dependency = Dependency()
    dependency.is_up.set()

    with InProcess(cluster, dependency.process, breaker=NEVER) as worker:
        obey(worker, is_open=True, name="payments-db")
        worker.source.assign(PLACE)
        worker.until(lambda: PLACE in worker.source.paused)
        assert dependency.done == []

        obey(worker)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert told(worker) == []


def test_what_is_assigned_in_the_poll_in_which_the_hold_ends_is_read(cluster: FakeCluster) -> None:
    dependency = Dependency()
    dependency.is_up.set()

    with InProcess(cluster, dependency.process, breaker=NEVER) as worker:
        obey(worker, is_open=True, name="payments-db")
        worker.until(lambda: worker.source.begin_paused)

        def hand_over_and_end() -> None:
            worker.source.positions[PLACE] = 0
            worker.source.listener.assigned([PLACE])
            worker.source.paused.add(PLACE)
            obey(worker)

        worker.source.script(hand_over_and_end)
        worker.until(lambda: worker.engine.counters.settled == 3)


def test_a_worker_that_holds_and_has_no_record_reads_one_to_try_with(cluster: FakeCluster) -> None:
    dependency = Dependency()
    dependency.is_up.set()

    with InProcess(cluster, dependency.process, breaker=QUICK) as worker:
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert told(worker) == ["up"]


def test_a_prober_without_any_record_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.worker.breaker.NOTHING_EVERY", 0.02)

    with InProcess(FakeCluster(), Dependency().process, breaker=QUICK) as worker:
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.until(lambda: "nothing" in told(worker))


def test_a_probe_that_fails_in_another_way_ends_the_hold(cluster: FakeCluster) -> None:
    calls: list[int] = []

    def process(record: Record) -> None:
        calls.append(record.offset)
        if len(calls) == 1:
            raise DependencyDownError(dependency="payments-db")
        if len(calls) == 2:
            message = "it was there, and did not like this"
            raise ValueError(message)

    with InProcess(cluster, process, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert told(worker) == ["down", "up"]


def test_a_class_of_the_configuration_means_down_and_so_does_an_error_raised_from_it(cluster: FakeCluster) -> None:
    errors = iter([ConnectionResetError(), RuntimeError()])
    names: list[str] = []

    def process(_record: Record) -> None:
        error = next(errors, None)
        if isinstance(error, RuntimeError):
            raise error from ConnectionRefusedError()
        if error is not None:
            raise error

    spec = BreakerSpec(("ConnectionError",), QUICK.probe)
    with InProcess(cluster, process, breaker=spec) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)
        names = [frame["name"] for frame in worker.link.frames if frame.get("state") == "down"]

    assert names == ["builtins:ConnectionError"] * 2


def test_a_policy_may_say_that_a_dependency_is_down(cluster: FakeCluster) -> None:
    seen: list[int] = []

    def process(record: Record) -> None:
        if len(seen) < 3:
            seen.append(record.attempt)
            raise ValueError

    def policy(failure: Failure) -> DependencyDown:
        del failure
        return DependencyDown("search")

    with InProcess(cluster, process, policy=policy, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert seen == [1, 1, 1]
    assert told(worker) == ["down", "down", "down", "up"]


def test_what_fails_for_good_while_all_is_held_back_is_no_dead_letter_yet() -> None:
    cluster, letters = filled(2, keys=2), list[Letter]()
    first_is_in, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def process(record: Record) -> None:
        calls.append(record.offset)
        if calls.count(record.offset) > 1:
            return
        if record.offset == 0:
            first_is_in.set()
            go_on.wait(5)
            raise ValueError
        first_is_in.wait(5)
        raise DependencyDownError(dependency="payments-db")

    def permanent(failure: Failure) -> Any:
        return DeadLetter("bad") if isinstance(failure.error, ValueError) else None

    with InProcess(
        cluster,
        process,
        sink=letters.append,
        policy=permanent,
        breaker=BreakerSpec(probe=Backoff(0.2, 2.0, 0.2, 0.0)),
        ordering=Ordering.KEY,
        concurrency=2,
    ) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: "down" in told(worker))
        go_on.set()
        worker.until(lambda: worker.engine.counters.settled == 2)

    assert letters == []
    assert sorted(calls) == [0, 0, 1, 1]


def test_a_batch_that_needs_what_is_down_is_tried_with_one_record_and_then_as_a_batch_again() -> None:
    cluster, sizes, is_up = filled(20), list[int](), threading.Event()
    done: list[int] = []

    def process_batch(records: Any) -> None:
        sizes.append(len(records))
        if not is_up.is_set():
            raise DependencyDownError(dependency="payments-db")
        assert {record.attempt for record in records} == {1}
        done.extend(record.offset for record in records)

    with InProcess(cluster, process_batch=process_batch, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: told(worker).count("down") == 3)
        is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 20)

    assert done == list(range(20))
    assert set(sizes[1:3]) == {1}
    assert max(sizes[3:]) > 1


@pytest.mark.parametrize("lost", [False, True])
def test_a_partition_goes_and_comes_back_while_a_dependency_is_down(cluster: FakeCluster, *, lost: bool) -> None:
    dependency = Dependency()

    with InProcess(cluster, dependency.process, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: dependency.refused > 2)
        gone = worker.source.revoke(PLACE, lost=lost)
        worker.until(gone.is_set)
        worker.source.assign(PLACE)
        refused = dependency.refused
        worker.until(lambda: dependency.refused > refused + 2)
        dependency.is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert [offset for _, offset in dependency.done] == [0, 1, 2]


def test_a_worker_stops_in_order_while_a_dependency_is_down(cluster: FakeCluster) -> None:
    dependency = Dependency()

    with InProcess(cluster, dependency.process, breaker=NEVER) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: PLACE in worker.source.paused)
        assert worker.stop()

    assert dependency.refused == 1
    assert cluster.committed.get(PLACE, 0) == 0


def test_a_record_that_was_in_its_handler_when_the_breaker_closed_does_not_open_it_again() -> None:
    cluster, calls = filled(2, keys=2), list[int]()
    slow_is_in, go_on = threading.Event(), threading.Event()

    def process(record: Record) -> None:
        calls.append(record.offset)
        if record.offset == 0 and calls.count(0) == 1:
            slow_is_in.set()
            go_on.wait(5)
            raise DependencyDownError(dependency="payments-db")
        if record.offset == 1 and calls.count(1) == 1:
            slow_is_in.wait(5)
            raise DependencyDownError(dependency="payments-db")

    with InProcess(cluster, process, breaker=QUICK, ordering=Ordering.KEY, concurrency=2) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: "up" in told(worker))
        go_on.set()
        worker.until(lambda: worker.engine.counters.settled == 2)

    assert told(worker) == ["down", "up"]


def test_an_async_worker_holds_and_goes_on_the_same_way() -> None:
    cluster, dependency = filled(200, keys=10), Dependency()

    async def process(record: Record) -> None:
        dependency.process(record)

    with InProcess(cluster, process, breaker=QUICK, ordering=Ordering.KEY, concurrency=8) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: told(worker).count("down") == 5)
        refused = dependency.refused
        dependency.is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 200)

    assert refused <= 8 + 5
    assert len(dependency.done) == 200


def convict(worker: InProcess, case: Case) -> None:
    """Have the worker told that the first record of its partition is convicted, as the parent tells it."""
    send = worker.link.send

    def answer(kind: str, **members: Any) -> bool:
        send(kind, **members)
        if kind == "accused":
            told = {"ask": members["ask"], "suspects": [], "convicted": [[*PLACE, 0, to_json(case)]]}
            worker.engine.quarantine.heard(told)
        return True

    worker.link.send = answer  # type: ignore[method-assign]


@pytest.mark.parametrize(("ids", "expected"), [({}, 1), ({"t": "x"}, 0)], ids=["nobody says", "it is this topic"])
def test_p1_a_letter_that_was_written_counts_for_a_topic_that_is_proven_to_be_the_same(
    monkeypatch: pytest.MonkeyPatch, ids: dict[str, str], expected: int
) -> None:
    cluster, letters, worked = filled(2), list[Letter](), list[int]()
    monkeypatch.setattr("supervisor.worker.quarantine.topic_ids", lambda *_: ids)

    def process(record: Record) -> None:
        worked.append(record.offset)

    with InProcess(cluster, process, sink=letters.append, ordering=Ordering.PARTITION, max_deaths=3) as worker:
        convict(worker, Case(deaths=3, convicted=True, buried=True))
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 2)

    assert (len(letters), worked) == (expected, [1])


def test_the_letter_of_a_convicted_record_is_no_word_from_the_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, dependency, letters = filled(2), Dependency(), list[Letter]()
    monkeypatch.setattr("supervisor.worker.quarantine.topic_ids", lambda *_: {})

    with InProcess(
        cluster, dependency.process, sink=letters.append, breaker=QUICK, ordering=Ordering.PARTITION, max_deaths=3
    ) as worker:
        convict(worker, Case(deaths=3, convicted=True, evidence=Evidence(-11)))
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.source.assign(PLACE)
        worker.until(lambda: "down" in told(worker))

    assert len(letters) == 1
    assert "up" not in told(worker)


class Sink:
    """Takes no letter until it is up."""

    def __init__(self) -> None:
        self.is_up = threading.Event()
        self.letters: list[Letter] = []
        self.refused = 0

    def take(self, letter: Letter) -> None:
        if not self.is_up.is_set():
            self.refused += 1
            raise OSError
        self.letters.append(letter)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.worker.outcomes.SINK_BACKOFF", Backoff(0.01, 1.0, 0.01, 0.0))
    monkeypatch.setattr("supervisor.worker.quarantine.topic_ids", lambda *_: {})


@pytest.mark.parametrize("ordering", list(Ordering))
def test_a_letter_that_no_sink_takes_does_not_keep_a_prober_from_trying_with_other_records(
    impatient: None, ordering: Ordering
) -> None:
    cluster, sink, dependency = filled(3), Sink(), Dependency()
    other = ("t", 1)
    cluster.add(other, b"v")

    with InProcess(
        cluster, dependency.process, sink=sink.take, breaker=QUICK, ordering=ordering, max_deaths=3
    ) as worker:
        convict(worker, Case(deaths=3, convicted=True, evidence=Evidence(-11)))
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.source.assign(PLACE)
        worker.until(lambda: sink.refused > 2)
        assert "up" not in told(worker)
        worker.source.assign(other)
        dependency.is_up.set()
        worker.until(lambda: (other[1], 0) in dependency.done)
        worker.until(lambda: "up" in told(worker))
        sink.is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 4)

    assert [letter.source_offset for letter in sink.letters] == [0]


def test_a_group_comes_back_by_itself_when_sink_and_dependency_are_back(impatient: None) -> None:
    cluster, sink, dependency = filled(3), Sink(), Dependency()
    dependency.is_up.set()

    with InProcess(
        cluster, dependency.process, sink=sink.take, breaker=QUICK, ordering=Ordering.PARTITION, max_deaths=3
    ) as worker:
        convict(worker, Case(deaths=3, convicted=True, evidence=Evidence(-11)))
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.source.assign(PLACE)
        worker.until(lambda: sink.refused > 2)
        assert "up" not in told(worker)
        sink.is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert [offset for _, offset in dependency.done] == [1, 2]
    assert told(worker)[-1] == "up"


def test_p6_a_prober_whose_only_partition_is_blocked_reads_no_more_than_it_may_hold(impatient: None) -> None:
    cluster, sink = filled(300), Sink()

    with InProcess(
        cluster,
        Dependency().process,
        sink=sink.take,
        breaker=QUICK,
        ordering=Ordering.PARTITION,
        max_deaths=3,
        queue_records=40,
    ) as worker:
        convict(worker, Case(deaths=3, convicted=True, evidence=Evidence(-11)))
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.lanes.count == 40)
        worker.until(lambda: PLACE in worker.source.paused)
        refused = sink.refused
        worker.until(lambda: sink.refused > refused + 3)

        assert worker.engine.lanes.count == 40


def test_a_word_that_was_not_taken_is_said_again(cluster: FakeCluster) -> None:
    dependency = Dependency()

    with InProcess(cluster, dependency.process, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: told(worker).count("down") == 2)
        worker.link.is_full = True
        dependency.is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 3)
        assert told(worker)[-1] == "down"
        worker.link.is_full = False
        worker.until(lambda: told(worker)[-1] == "up")


def test_a_prober_that_holds_no_record_and_can_get_none_says_that_nothing_is_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.worker.breaker.NOTHING_EVERY", 0.02)
    cluster, dependency = filled(1), Dependency()

    with InProcess(cluster, dependency.process, breaker=NEVER) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: "down" in told(worker))
        obey(worker, is_open=True, name="payments-db")
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.until(lambda: told(worker).count("down") == 2)  # it has a record, so it tries
        gone = worker.source.revoke(PLACE)
        worker.until(gone.is_set)
        obey(worker, is_open=True, name="payments-db")
        obey(worker, is_open=True, name="payments-db", probes=True)
        worker.until(lambda: "nothing" in told(worker))
        said = [frame for frame in worker.link.frames if frame.get("state") == "nothing"]

    assert said[-1]["idle"]


@pytest.mark.parametrize("holds", [False, True], ids=["what is not read yet", "what waits for a sink"])
def test_a_prober_without_a_record_to_try_with_is_not_idle_while_there_is_one(
    monkeypatch: pytest.MonkeyPatch, impatient: None, *, holds: bool
) -> None:
    monkeypatch.setattr("supervisor.worker.breaker.NOTHING_EVERY", 0.02)
    cluster, sink = filled(1), Sink()

    with InProcess(cluster, Dependency().process, sink=sink.take, breaker=QUICK, max_deaths=3) as worker:
        convict(worker, Case(deaths=3, convicted=True, evidence=Evidence(-11)))
        if not holds:
            worker.source.chunk = lambda _limit: 0
        obey(worker, is_open=True, name="db", probes=True)
        worker.source.assign(PLACE)
        worker.until(lambda: bool(sink.refused) is holds and PLACE in worker.engine.owned)
        before = told(worker).count("nothing")
        worker.until(lambda: told(worker).count("nothing") > before + 2)
        said = [frame["idle"] for frame in worker.link.frames if frame.get("state") == "nothing"]

    assert said[-1] is False
