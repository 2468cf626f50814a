"""What becomes of each partition of a reset, whatever a broker answers; the broker is a fake."""

import time
from collections.abc import Sequence

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from supervisor.core import resets as rules
from supervisor.core.resets import Applied, OffsetMove, is_hopeless, names
from supervisor.kafka import resets
from supervisor.kafka.refusals import REFUSALS, SHARED
from supervisor.kafka.resets import apply


class Answer:
    """One partition's answer."""

    def __init__(self, asked: TopicPartition, error: KafkaError | None) -> None:
        self.topic, self.partition, self.error = asked.topic, asked.partition, error


class FakeBroker:
    """Answers commits in turn: a code refuses all of one, a dict some partitions of it, an empty string takes it."""

    def __init__(self, *answers: str | dict[int, str]) -> None:
        self.answers = list(answers)
        self.asked: list[list[int]] = []

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        self.asked.append([one.partition for one in offsets])
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, str):
            if answer:
                raise KafkaException(error(answer))
            answer = {}
        codes = [answer.get(one.partition, "") for one in offsets]
        return [Answer(one, error(code) if code else None) for one, code in zip(offsets, codes, strict=True)]  # type: ignore[misc]

    def apply(self, count: int, *, patience: float = 60.0) -> Applied:
        moves = [OffsetMove("t", at, 0, 10, 5, 7) for at in range(count)]
        return apply(self.commit, moves, time.monotonic() + patience, sleep=lambda _: None)


def error(code: str) -> KafkaError:
    return KafkaError(getattr(KafkaError, code))


def parts(applied: Applied) -> tuple[list[int], list[int], list[int], str]:
    kinds = (applied.changed, applied.unchanged, applied.unsure)
    done, left, unsure = ([move.partition for move in moves] for moves in kinds)
    return done, left, unsure, applied.error


@pytest.fixture(autouse=True)
def chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resets, "AT_ONCE", 2)


def test_everything_is_set_chunk_by_chunk() -> None:
    broker = FakeBroker()

    assert parts(broker.apply(5)) == ([0, 1, 2, 3, 4], [], [], "")
    assert broker.asked == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    "code",
    [
        "GROUP_AUTHORIZATION_FAILED",
        "TOPIC_AUTHORIZATION_FAILED",
        "TOPIC_EXCEPTION",
        "OFFSET_METADATA_TOO_LARGE",
        "_STATE",
    ],
)
def test_a_chunk_that_can_never_be_set_ends_it_at_once_and_the_set_ones_are_named(code: str) -> None:
    broker = FakeBroker("", code)

    applied = broker.apply(5)

    assert parts(applied) == ([0, 1], [2, 3, 4], [], code)
    assert applied.text == "set: t/0-1; as before: t/2-4"
    assert len(broker.asked) == 2, "neither again, nor what comes after it"


def test_partitions_of_one_chunk_are_told_apart() -> None:
    broker = FakeBroker({1: "TOPIC_AUTHORIZATION_FAILED"})

    assert parts(broker.apply(3)) == ([0], [1, 2], [], "TOPIC_AUTHORIZATION_FAILED")


def test_what_may_pass_is_tried_again_and_only_what_is_left() -> None:
    broker = FakeBroker("NOT_COORDINATOR", {1: "UNKNOWN_MEMBER_ID"}, "_TIMED_OUT", "")

    assert parts(broker.apply(2)) == ([0, 1], [], [], "")
    assert broker.asked == [[0, 1], [0, 1], [1], [1]]


def test_p8_after_its_patience_it_says_what_was_set_what_was_not_and_what_nobody_knows() -> None:
    late = FakeBroker("", "_TIMED_OUT")
    refused = FakeBroker("", "UNKNOWN_MEMBER_ID")

    assert parts(late.apply(5, patience=-1.0)) == ([0, 1], [4], [2, 3], "_TIMED_OUT")
    assert parts(refused.apply(5, patience=-1.0)) == ([0, 1], [2, 3, 4], [], "UNKNOWN_MEMBER_ID")


def test_what_was_asked_without_an_answer_once_is_not_known_whatever_is_answered_later() -> None:
    broker = FakeBroker("_TIMED_OUT", "GROUP_AUTHORIZATION_FAILED")

    assert parts(broker.apply(2)) == ([], [], [0, 1], "GROUP_AUTHORIZATION_FAILED")


def test_partitions_in_a_row_are_written_as_one() -> None:
    moves = [OffsetMove(topic, at, 0, 0, 0) for topic, at in (("b", 3), ("a", 1), ("a", 0), ("b", 1), ("a", 2))]

    assert names(moves) == "a/0-2, b/1, b/3"


@pytest.mark.parametrize("code", ["COORDINATOR_LOAD_IN_PROGRESS", "_TRANSPORT", "REBALANCE_IN_PROGRESS", "_WAIT_COORD"])
def test_an_error_that_passes_is_not_hopeless(code: str) -> None:
    assert not is_hopeless(code)


def test_codes_that_decide_are_ones_that_the_client_has() -> None:
    """Kafka's protocol has other names for some: one of those would never be met."""
    names = {KafkaError(code).name() for code in range(-200, 200)}

    assert names >= rules._NEVER | REFUSALS | SHARED
