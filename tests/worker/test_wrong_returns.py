"""What a handler returns and may not is a dead letter that says of what type it was, and never what it was (P10)."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from supervisor.plugin import Letter, Produce, Record
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

SECRET = "4111-1111"
ODD = cast("Any", 7)


def letters_of(handler: Callable[..., object] | None, **more: Any) -> list[Letter]:
    cluster, letters = FakeCluster(), list[Letter]()
    cluster.add(PLACE, b"x")
    with InProcess(cluster, handler, sink=letters.append, **more) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 1)
    return letters


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (SECRET, "str"),
        ({SECRET: 1}, "dict"),
        ([Produce("u"), SECRET], "list with str in it"),
        (Produce(""), "a Produce without a topic"),
        ([Produce("u", value=ODD)], "list with a Produce of wrong types (topic: str, key: NoneType, value: int) in it"),
        (ValueError(SECRET), "ValueError"),
    ],
)
def test_p10_a_value_that_is_no_output_is_told_by_its_type(answer: object, found: str) -> None:
    def process(_record: Record) -> object:
        return answer

    (letter,) = letters_of(process)

    headers = dict(letter.headers)
    assert letter.disposition == "plugin-error"
    assert headers["supervisor.dlq.reason"] == f"the handler returned {found}".encode()
    assert (headers["supervisor.dlq.exception-message"] or b"").startswith(
        f"the handler returned {found}; it must return None".encode()
    )
    assert SECRET not in str(letter.headers)


@pytest.mark.parametrize(
    ("answer", "found"),
    [(SECRET[:3], "str of 3 for 1 records"), ([None, None], "list of 2 for 1 records"), (7, "int for 1 records")],
)
def test_p10_a_batch_that_has_no_outcome_per_record_is_told_by_its_type(answer: object, found: str) -> None:
    (letter,) = letters_of(None, process_batch=lambda _records: answer)

    assert dict(letter.headers)["supervisor.dlq.reason"] == f"the handler returned {found}".encode()
