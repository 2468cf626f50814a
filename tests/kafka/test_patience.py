"""Questions to brokers that move, while dead letters are read and sent: asked again, but not without end."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from supervisor.inspector import letter_sender
from supervisor.inspector.letter_sender import KafkaSender, Out
from supervisor.kafka import patience
from supervisor.kafka.claims import ClaimError
from supervisor.kafka.letters import letter_topics
from supervisor.kafka.offsets import AskError
from supervisor.kafka.patience import patiently
from supervisor.kafka.producer import ProduceError
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, end_offsets, read_topic
from tests.kafka.letters import Folder, put, story
from tests.unit.test_jsonable import WORKER
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "AGAIN_EVERY", 0.001)
    monkeypatch.setattr(letter_sender, "AGAIN_EVERY", 0.001)


class Broker:
    """Answers with each code in turn, then well."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.asked = 0

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        if self.codes:
            raise AskError(self.codes.pop(0))
        return "well"


@pytest.mark.parametrize("code", ["FENCED_LEADER_EPOCH", "NOT_LEADER_FOR_PARTITION", "NOT_COORDINATOR", "_TRANSPORT"])
def test_a_question_to_a_broker_that_just_moved_is_asked_again(code: str) -> None:
    broker = Broker(code, code, code)

    assert patiently(broker) == "well"
    assert broker.asked == 4


def test_what_a_person_must_change_first_is_asked_once() -> None:
    broker = Broker("GROUP_AUTHORIZATION_FAILED")

    with pytest.raises(AskError, match="GROUP_AUTHORIZATION_FAILED"):
        patiently(broker)
    assert broker.asked == 1


def test_a_replay_that_another_run_has_is_not_asked_for_again() -> None:
    asked = []

    def ask() -> None:
        asked.append(1)
        message = "orders.replay.x was taken from us"
        raise ClaimError(message)

    with pytest.raises(ClaimError):
        patiently(ask)
    assert len(asked) == 1


def test_p8_nobody_is_asked_without_end() -> None:
    with pytest.raises(AskError, match="FENCED"):
        patiently(Broker(*["FENCED_LEADER_EPOCH"] * 1000), patience=0.01)


def out(about: str = "t.dlq/0@1") -> Out:
    return Out(about, "t", 0, None, b"v", ())


class Producer:
    """Raises each code in turn, then takes what it is given; ``outcomes`` are the broker's, empty for well."""

    def __init__(self, *codes: str, outcomes: dict[bytes, str] | None = None, batch: str = "") -> None:
        self.codes = list(codes)
        self.outcomes = outcomes or {}
        self.batch = batch
        self.sent: list[bytes | None] = []
        self.asked: set[str] = set()

    def __call__(self, topic: str, value: bytes | None, **_: Any) -> "Future[None]":
        self.asked.add(topic)
        if self.codes:
            raise ProduceError(self.codes.pop(0), "no")
        self.sent.append(value)
        code = self.batch if len(self.sent) <= 3 and self.batch else self.outcomes.get(value or b"", "")
        future: Future[None] = Future()
        if code:
            future.set_exception(ProduceError(code, "no"))
        else:
            future.set_result(None)
        return future

    def look_up(self, topic: str) -> None:
        self.asked.add(topic)
        if self.codes:
            raise ProduceError(self.codes.pop(0), "no")

    def close(self, _timeout: float) -> None:
        pass


def sender(producer: Producer, timeout: float = 5.0) -> KafkaSender:
    made = KafkaSender(WORKER.group, timeout=timeout)
    made.producer = producer  # type: ignore[assignment]
    return made


def test_a_topic_whose_leader_nobody_knows_yet_is_asked_for_again() -> None:
    producer = Producer("LEADER_NOT_AVAILABLE", "_TIMED_OUT")

    assert sender(producer).send_each([out()]) == [None]

    assert producer.sent == [b"v"]


class Absent(Producer):
    """Takes records for a topic that is not there, as the client does, and would say so half a minute later."""

    def look_up(self, topic: str) -> None:
        raise ProduceError("UNKNOWN_TOPIC_OR_PART", topic)


@pytest.mark.parametrize("partition", [0, None])
def test_a_topic_that_is_not_there_is_told_before_the_client_has_its_letters(
    monkeypatch: pytest.MonkeyPatch, partition: int | None
) -> None:
    monkeypatch.setattr(letter_sender, "NEW_TOPIC", 0.0)
    producer = Absent()

    errors = sender(producer).send_each([Out(str(at), "t", partition, None, b"v", ()) for at in range(3)])

    assert [error and error.code for error in errors] == ["UNKNOWN_TOPIC_OR_PART"] * 3
    assert producer.sent == []


@pytest.mark.parametrize("code", ["TOPIC_AUTHORIZATION_FAILED", "MSG_SIZE_TOO_LARGE", "TOPIC_EXCEPTION"])
def test_what_no_patience_helps_fails_at_once(code: str) -> None:
    (error,) = sender(Producer(code, code)).send_each([out()])

    assert error is not None
    assert error.code == code


@pytest.mark.parametrize("partition", [0, None])
def test_p8_what_keeps_one_out_keeps_out_those_behind_it_without_another_wait(partition: int | None) -> None:
    producer = Producer(*["_TRANSPORT"] * 1_000_000)

    outs = [Out(str(at), f"t{at}", partition, None, b"v", ()) for at in range(50)]

    errors = sender(producer, timeout=0.1).send_each(outs)

    assert [error.code for error in errors if error is not None] == ["_TRANSPORT"] * 50
    assert producer.asked == {"t0"}


def test_one_letter_that_is_too_large_is_told_from_those_that_failed_with_it() -> None:
    producer = Producer(batch="MSG_SIZE_TOO_LARGE", outcomes={b"huge": "MSG_SIZE_TOO_LARGE"})
    outs = [Out("1", "t", 0, None, b"a", ()), Out("2", "t", 0, None, b"huge", ()), Out("3", "t", 0, None, b"b", ())]

    errors = sender(producer).send_each(outs)

    assert [error.code if error else None for error in errors] == [None, "MSG_SIZE_TOO_LARGE", None]


def test_only_a_pattern_asks_which_topics_there_are() -> None:
    def nobody() -> list[str]:
        raise AssertionError

    assert letter_topics(["a", "b"], "{topic}.dlq", nobody) == ["a.dlq", "b.dlq"]
    assert letter_topics(["a", "b"], "dlq", nobody) == ["dlq"]
    there = ["o.a", "o.b", "o.a.dlq", "x.dlq"]
    assert letter_topics(["^o\\.[a-z]$"], "{topic}.dlq", lambda: there) == ["o.a.dlq"]


@pytest.mark.timeout(240)
def test_p3_a_broker_that_dies_in_the_middle_of_a_replay_is_waited_for(
    own_broker: RealBroker, name: str, tmp_path: Path
) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(own_broker.bootstrap, topic)
    folder = Folder(tmp_path, own_broker, name)
    put(own_broker, f"{name}.dlq", [story(name, name, 0, at) for at in range(300)])
    command = folder.begin("replay", "--rate", "60/s")
    wait_until(lambda: sum(end_offsets(own_broker.bootstrap, name).values()) > 50, 60, every=0.05)

    own_broker.kill()
    own_broker.start()
    code = command.wait(120)

    assert code == 0, (tmp_path / "out").read_text()
    ids = [one.header["supervisor.dlq.replay-of"] for one in read_topic(own_broker.bootstrap, name)]
    assert len(ids) == 300
    assert set(ids) == {f"{name}/{name}/0/{at}" for at in range(300)}
