"""What a retry policy may answer beside retry and dead letter: let it go, end the worker, pause the group."""

from dataclasses import replace

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.board import H_WAIT, Wait
from supervisor.core.exits import ExitCode
from supervisor.core.spec import Ordering, RetryRule, RetrySpec, Then
from supervisor.plugin import Crash, DeadLetter, Decision, Drop, Failure, Letter, Pause, Record
from supervisor.worker import pauses
from supervisor.worker.verdicts import LONGEST_REASON
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

QUICK = Backoff(0.001, 1.0, 0.001, 0.0)


class BusyError(OSError):
    pass


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    for value in (b"a", b"b", b"c"):
        cluster.add(PLACE, value)
    return cluster


class Troubled:
    """A handler that fails with the record at offset 1 until it is mended."""

    def __init__(self) -> None:
        self.is_mended = False
        self.attempts: list[tuple[int, int]] = []

    def __call__(self, record: Record) -> None:
        self.attempts.append((record.offset, record.attempt))
        if record.offset == 1 and not self.is_mended:
            raise RuntimeError from BusyError()


def asked(worker: InProcess) -> list[dict[str, object]]:
    return [frame for frame in list(worker.link.frames) if frame["type"] == "pause"]


def test_a_pause_is_asked_for_once_and_the_record_waits_until_somebody_resumes(cluster: FakeCluster) -> None:
    handler = Troubled()

    with InProcess(cluster, handler, policy=lambda _failure: Pause("payments are closed")) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: asked(worker))
        worker.tell("pause", on=True)
        worker.until(lambda: worker.engine.board.words[H_WAIT] == Wait.PAUSED)
        assert handler.attempts == [(0, 1), (1, 1)]
        assert asked(worker) == [{"type": "pause", "record": "t/0@1", "reason": "payments are closed"}]

        handler.is_mended = True
        worker.tell("pause", on=False)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert handler.attempts == [(0, 1), (1, 1), (1, 2), (2, 1)]


def test_many_records_that_want_a_pause_are_one_question(cluster: FakeCluster) -> None:
    def process(_record: Record) -> None:
        raise OSError

    policy = Pause("down")
    with InProcess(cluster, process, policy=lambda _failure: policy, concurrency=3, ordering=Ordering.NONE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.failed_attempts == 3)
        worker.until(lambda: len(worker.parts.outcomes.pauses.lanes) == 3)

        assert len(asked(worker)) == 1


def test_p8_a_parent_that_does_not_pause_is_asked_again(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "PATIENCE", 0.05)

    with InProcess(cluster, Troubled(), policy=lambda _failure: Pause("down")) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(asked(worker)) >= 3)


def test_p1_a_record_that_waits_for_a_resume_is_given_back_when_its_partition_goes(cluster: FakeCluster) -> None:
    handler = Troubled()

    with InProcess(cluster, handler, policy=lambda _failure: Pause("down")) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: asked(worker))
        worker.source.revoke(PLACE).wait(5)
        assert cluster.committed[PLACE] == 1
        handler.is_mended = True
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert handler.attempts[2:] == [(1, 1), (2, 1)]


def test_p1_a_crash_ends_the_worker_for_that_reason_and_settles_nothing_of_the_record(cluster: FakeCluster) -> None:
    with InProcess(cluster, Troubled(), policy=lambda _failure: Crash("the cache is torn")) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.end)

        assert worker.engine.end == (ExitCode.POLICY, "t/0@1: the cache is torn")
        assert worker.engine.counters.settled <= 1
        assert cluster.committed.get(PLACE, 0) <= 1


@pytest.mark.parametrize(
    ("then", "attempts", "settled"), [(Then.DROP, 2, "dropped"), (Then.DEAD_LETTER, 2, "dead_lettered")]
)
def test_a_rule_has_attempts_and_an_end_of_its_own(
    cluster: FakeCluster, then: Then, attempts: int, settled: str
) -> None:
    handler, letters = Troubled(), list[Letter]()
    busy = RetryRule(f"{__name__}:BusyError", attempts, QUICK, then)

    with InProcess(cluster, handler, sink=letters.append, retry=RetrySpec(9, QUICK, rules=(busy,))) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

        assert getattr(worker.engine.counters, settled) == 1
    assert handler.attempts == [(0, 1), (1, 1), (1, 2), (2, 1)]


LINES = "it says:\n  4929-1234\x1b[2J\r\n" + 3000 * "and so on "
ONE_LINE = "it says: 4929-1234[2J and so on"


def test_a_pauses_reason_is_one_bounded_line(cluster: FakeCluster) -> None:
    with InProcess(cluster, Troubled(), policy=lambda _failure: Pause(LINES)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: asked(worker))

    (frame,) = asked(worker)
    assert str(frame["reason"]).startswith(ONE_LINE)
    assert len(str(frame["reason"])) <= LONGEST_REASON


def test_a_crashs_reason_is_one_bounded_line(cluster: FakeCluster) -> None:
    with InProcess(cluster, Troubled(), policy=lambda _failure: Crash(LINES)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.end)

    assert worker.engine.end is not None
    reason = worker.engine.end[1]
    assert reason.startswith(f"t/0@1: {ONE_LINE}")
    assert len(reason) <= len("t/0@1: ") + LONGEST_REASON


def test_p10_why_a_policy_gave_a_record_up_stands_in_its_dead_letter_on_one_line_and_in_no_log(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    letters: list[Letter] = []

    with InProcess(cluster, Troubled(), sink=letters.append, policy=lambda _failure: DeadLetter(LINES)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    reason = dict(letters[0].headers)["supervisor.dlq.reason"] or b""
    assert reason.decode().startswith(ONE_LINE)
    assert len(reason) <= LONGEST_REASON
    shown = [repr(one.__dict__) for one in caplog.records] + [repr(worker.link.frames)]
    assert any("record.failed" in one for one in shown)
    assert not any("4929-1234" in one for one in shown)


def test_why_a_record_was_dropped_is_logged_on_one_bounded_line(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with InProcess(cluster, Troubled(), policy=lambda _failure: Drop(LINES)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    (then,) = [vars(one)["fields"]["then"] for one in caplog.records if one.message == "record.dropped"]
    assert then.startswith(f"drop: {ONE_LINE}")
    assert len(then) <= len("drop: ") + LONGEST_REASON


@pytest.mark.parametrize("answer", [Crash(7), Pause(None), replace(Drop("x"), reason=1.5)])  # type: ignore[arg-type]
def test_an_answer_with_a_reason_that_is_no_text_cannot_be_followed(cluster: FakeCluster, answer: Decision) -> None:
    letters: list[Letter] = []

    with InProcess(cluster, Troubled(), sink=letters.append, policy=lambda _failure: answer) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert [letter.disposition for letter in letters] == ["plugin-error"]


def test_a_policy_may_answer_differently_for_each_failure(cluster: FakeCluster) -> None:
    def policy(failure: Failure) -> Decision:
        return DeadLetter("no") if failure.attempt > 1 else Pause("once")

    with InProcess(cluster, Troubled(), policy=policy) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: asked(worker))
        worker.tell("pause", on=False)
        worker.until(lambda: worker.engine.counters.settled == 3)

        assert worker.engine.counters.dead_lettered == 1
