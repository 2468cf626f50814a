"""Which letters a filter means, where they are sent, and with which headers."""

import json
import os

import pytest

from supervisor.core.dlq import DlqRequest, Replay, Verb
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.letter_lines import letter_of, line_of
from supervisor.core.letter_view import LetterView, view
from supervisor.core.replay import (
    Destination,
    Filter,
    HeaderTest,
    Origins,
    destination,
    fingerprint,
    parked_headers,
    replay_headers,
)
from tests.unit.test_jsonable import WORKER
from tests.unit.test_letter_view import CONNECT, SPRING, ours

VIEW = view(ours())


def has(meant: Filter, key: bytes | None = b"k", written_at: float | None = 30.0) -> bool:
    return meant.has(VIEW, key=key, headers=ours(), written_at=written_at)


@pytest.mark.parametrize(
    "meant",
    [
        Filter(),
        Filter(headers=(HeaderTest("trace"), HeaderTest("trace", "abc"))),
        Filter(since=21.0, until=21.5),
        Filter(keys=("x", "k")),
        Filter(keys=("hex:6b",)),
        Filter(exceptions=("ValueError",)),
        Filter(exceptions=("builtins.ValueError",)),
        Filter(dispositions=("error", "timeout")),
        Filter(origins=(Origins("orders"),)),
        Filter(origins=(Origins("bills"), Origins.parsed("orders/3@800-812"))),
    ],
)
def test_letters_that_are_meant(meant: Filter) -> None:
    assert has(meant)


@pytest.mark.parametrize(
    "meant",
    [
        Filter(headers=(HeaderTest("trace"), HeaderTest("trace", "ab"))),
        Filter(since=21.1),
        Filter(until=21.0),
        Filter(keys=("K",)),
        Filter(exceptions=("Error", "ValueErro")),
        Filter(dispositions=("error",)),
        Filter(origins=(Origins("orders", 2),)),
        Filter(origins=(Origins.parsed("orders/3@813"),)),
        Filter(dispositions=("timeout",), keys=("x",)),
    ],
)
def test_letters_that_are_not_meant(meant: Filter) -> None:
    assert not has(meant)


def test_a_time_is_when_it_was_written_where_nothing_says_when_it_failed() -> None:
    letter = view(CONNECT)

    assert Filter(since=29.0).has(letter, key=None, headers=CONNECT, written_at=30.0)
    assert not Filter(since=29.0).has(letter, key=None, headers=CONNECT, written_at=None)


@pytest.mark.parametrize("text", ["", "orders/", "orders/x", "orders@3", "orders/3@", "orders/3@4-"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        Origins.parsed(text)


def test_p10_a_filters_text_names_no_key_and_no_headers_value() -> None:
    meant = Filter(
        headers=(HeaderTest.parsed("trace"), HeaderTest.parsed("tenant=jane"), HeaderTest.parsed("empty=")),
        keys=("jane@example.org",),
        dispositions=("error",),
        origins=(Origins.parsed("o/1@2-3"),),
    )

    headers = "header=trace header=tenant=(given) header=empty=(given)"
    assert meant.text == f"{headers} key=1 given disposition=error origin=o/1@2-3"
    assert Filter().text == "all"


def test_a_letter_goes_back_to_its_topic_and_partition() -> None:
    assert destination(VIEW, to="", by_key=False, max_replays=3) == Destination("orders", 3)
    assert destination(VIEW, to="", by_key=True, max_replays=3) == Destination("orders")
    assert destination(VIEW, to="orders.fixed", by_key=False, max_replays=3) == Destination("orders.fixed")


def test_a_letter_that_was_replayed_too_often_is_parked() -> None:
    often = view((*ours(), ("supervisor.dlq.replay-count", b"3")))

    assert destination(often, to="", by_key=False, max_replays=3) == Destination("orders.parked", is_parking=True)
    assert destination(often, to="x", by_key=False, max_replays=3) == Destination("orders.parked", is_parking=True)
    assert destination(often, to="", by_key=False, max_replays=4) == Destination("orders", 3)


def test_a_letter_from_nowhere_can_only_go_where_it_is_told_to() -> None:
    assert destination(LetterView(), to="", by_key=False, max_replays=3) is None
    assert destination(LetterView(), to="orders", by_key=False, max_replays=3) == Destination("orders")


@pytest.mark.parametrize("story", [ours(), (("trace", b"abc"), *SPRING[1:]), (("trace", b"abc"), *CONNECT)])
def test_a_replayed_record_has_its_own_headers_and_the_replays_instead_of_the_storys(
    story: tuple[tuple[str, bytes | None], ...],
) -> None:
    sent = replay_headers(story, view(story), name="default", again=False)

    assert sent[0] == ("trace", b"abc")
    assert {name for name, _ in sent[1:]} <= {
        f"supervisor.dlq.replay-{name}" for name in ("count", "of", "name", "timestamp")
    }
    assert dict(sent)["supervisor.dlq.replay-count"] == b"1"
    assert dict(sent)["supervisor.dlq.replay-of"] == view(story).audit_id.encode()


def test_a_record_that_failed_again_knows_how_often_it_was_replayed_and_what_it_was_first() -> None:
    once = replay_headers(ours(), VIEW, name="default", again=True)
    failed = (*once, *ours(offset=900)[1:])

    twice = dict(replay_headers(failed, view(failed), name="default", again=False))

    assert dict(once)["supervisor.dlq.replay-again"] == b"1"
    assert twice["supervisor.dlq.replay-count"] == b"2"
    assert twice["supervisor.dlq.replay-of"] == b"billing/orders/3/812"
    assert "supervisor.dlq.replay-again" not in twice


def test_a_parked_letter_keeps_its_whole_story() -> None:
    assert parked_headers(ours(), name="n", again=False)[: len(ours())] == ours()


def test_a_replay_is_told_from_one_that_means_something_else() -> None:
    same = fingerprint(Filter(keys=("a",)), to="", by_key=False)

    assert same == fingerprint(Filter(keys=("a",)), to="", by_key=False)
    assert len({same, fingerprint(Filter(), to="", by_key=False), fingerprint(Filter(), to="x", by_key=False)}) == 3


def test_a_line_gives_back_the_letter_it_was_made_of() -> None:
    line = (
        b'{"v":1,"audit_id":"g/t/1/2","topic":"t.dlq","key":null,"value":"AP8=","headers":[["a","/g=="],["b",null]],'
        b'"source":{"topic":"t","partition":1,"offset":2},"disposition":"error","timestamp":null,"written_at":5.0}'
    )

    letter = letter_of(line, place="0.jsonl", position=10, after=400)

    assert letter is not None
    assert (letter.id, letter.topic, letter.partition) == ("0.jsonl@10", "t.dlq", 1)
    assert (letter.key, letter.value, letter.headers) == (None, b"\x00\xff", (("a", b"\xfe"), ("b", None)))
    again = letter_of(line_of(letter), place="0.jsonl", position=10, after=400)
    assert again == letter


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"v":2}', b'{"v":1,"topic":"t"}', b'{"v":1,"audit', b"\xff"])
def test_what_is_no_letter_is_none(line: bytes) -> None:
    assert letter_of(line, place="f", position=0, after=1) is None


def test_a_request_survives_the_way_to_the_child() -> None:
    asked = DlqRequest(
        Verb.REPLAY,
        WORKER.group,
        "/state",
        1,
        meant=Filter(headers=(HeaderTest("a", "b"),), origins=(Origins("t", 1, 2, 3),)),
        replay=Replay("n", rate=2.5),
    )

    assert from_json(DlqRequest, json.loads(json.dumps(to_json(asked)))) == asked


def test_bytes_that_a_shell_passed_on_are_those_bytes() -> None:
    typed = os.fsdecode(b"\xff")

    assert HeaderTest.parsed(f"trace={typed}").has([("trace", b"\xff")])
    assert Filter(keys=(typed,)).has(VIEW, key=b"\xff", headers=(), written_at=None)
