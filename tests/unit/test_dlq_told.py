"""How an order about dead letters ended, as events tell it."""

from dataclasses import replace

import pytest

from supervisor.control.requests import NoteDlq
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Place, Replay, Verb, Where
from supervisor.core.dlq_told import LONGEST_WHY, about, ending
from tests.unit.test_jsonable import WORKER

DRAIN = DlqRequest(Verb.DRAIN, WORKER.group, "/state", 0, where=Where(Place.FILE))
REPLAY = DlqRequest(Verb.REPLAY, WORKER.group, "/state", 0, where=Where(topics=("a", "b")), replay=Replay("n", to="t"))
SOME = Counts(total=9, read=5, sent=4)
FIELDS = {"total": 9, "read": 5, "sent": 4}


@pytest.mark.parametrize(
    ("answer", "text", "fields"),
    [
        (DlqAnswer(SOME), "4 sent", {"ended": "done", **FIELDS}),
        (DlqAnswer(), "nothing was done", {"ended": "done"}),
        (DlqAnswer(SOME, stopped=True), "4 sent", {"ended": "stopped", **FIELDS}),
        (DlqAnswer(SOME, error="no", stopped=True), "4 sent; no", {"ended": "failed", **FIELDS}),
        (DlqAnswer(SOME, error="no\n  help: do"), "4 sent; no", {"ended": "failed", **FIELDS}),
        (DlqAnswer(SOME, error="no", killed=True), "how much was done is not known; no", {"ended": "killed"}),
    ],
)
def test_p7_an_end_is_told_with_what_is_known_of_it(answer: DlqAnswer, text: str, fields: dict[str, object]) -> None:
    assert ending(DRAIN, answer) == (text, fields)
    assert ending(REPLAY, answer) == (f"replay n: {text}", fields)


def test_a_reason_is_as_long_as_an_event_takes() -> None:
    text, _ = ending(DRAIN, DlqAnswer(error="x" * 9000))

    assert text == f"nothing was done; {'x' * LONGEST_WHY}"


def test_what_was_asked_is_told_as_far_as_a_request_takes_it() -> None:
    files = tuple(f"letters/{number}.jsonl" for number in range(500))

    told = about(replace(DRAIN, where=Where(Place.FILE, files=files)))

    NoteDlq.model_validate({"name": "replayed", "group": "orders", "fields": told})
    assert str(told["from"]).startswith("letters/0.jsonl letters/1.jsonl")
    assert str(told["from"]).endswith("...")


def test_what_was_asked_is_told_as_far_as_something_was() -> None:
    assert about(DRAIN) == {"source": "file", "filter": "all"}
    assert about(REPLAY) == {"source": "kafka", "from": "a b", "filter": "all", "replay": "n", "to": "t"}
    assert about(replace(DRAIN, where=Where(Place.FILE, files=("x",))))["from"] == "x"
