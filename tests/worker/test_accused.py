"""What a worker makes of who is accused, as its parent tells it: perhaps of thousands, in several frames."""

from typing import Any

import pytest

from supervisor.core.cases import Case
from supervisor.core.jsonable import to_json
from supervisor.plugin import Letter, Record
from supervisor.worker import quarantine
from supervisor.worker.report import MAX_PARTITIONS, worker_stats
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

CONVICTED = to_json(Case(deaths=3, convicted=True))


def part(ask: int, *offsets: int, ids: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"ask": ask, "suspects": [[*PLACE, [], ids]], "convicted": [[*PLACE, at, CONVICTED] for at in offsets]}


def answered_with(worker: InProcess, *parts: dict[str, Any]) -> None:
    """Have the worker's questions answered with these parts; the last bears the question's number."""
    send = worker.link.send

    def answer(kind: str, **members: Any) -> bool:
        send(kind, **members)
        if kind == "accused":
            for one in parts:
                worker.engine.quarantine.heard(one | {"ask": one["ask"] and members["ask"]})
        return True

    worker.link.send = answer  # type: ignore[method-assign]


@pytest.mark.parametrize(("topic_id", "expected"), [("old", [0, 2]), ("new", [])])
def test_an_answer_in_parts_is_one_answer(monkeypatch: pytest.MonkeyPatch, topic_id: str, expected: list[int]) -> None:
    cluster, letters, worked = FakeCluster(), list[Letter](), list[int]()
    for _ in range(3):
        cluster.add(PLACE, b"v")
    monkeypatch.setattr(quarantine, "topic_ids", lambda *_: {PLACE[0]: topic_id})

    def process(record: Record) -> None:
        worked.append(record.offset)

    with InProcess(cluster, process, sink=letters.append, max_deaths=3) as worker:
        answered_with(worker, part(0, 0, ids=("old",)), part(1, 2))
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 3)

    assert [letter.source_offset for letter in letters] == expected
    assert worked == [offset for offset in range(3) if offset not in expected]


def test_thousands_of_partitions_are_asked_for_in_several_frames() -> None:
    with InProcess(FakeCluster(), lambda _: None, max_deaths=3) as worker:
        places = [("t", number) for number in range(1200)]
        last = worker.engine.quarantine.ask(places)
        asked = [frame for frame in worker.link.frames if frame["type"] == "accused"]

    assert [frame["ask"] for frame in asked] == [last - 2, last - 1, last]
    assert [place for frame in asked for place in frame["partitions"]] == places


def test_an_answer_to_the_rest_of_a_question_is_none_when_a_part_was_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with InProcess(FakeCluster(), lambda _: None, max_deaths=3) as worker:
        taken, take, refused = list[int](), worker.link.send, iter((False, True, False))

        def send(kind: str, **members: Any) -> bool:
            if kind == "accused" and next(refused):
                return False
            taken.extend([members["ask"]] if kind == "accused" else [])
            return take(kind, **members)

        monkeypatch.setattr(worker.link, "send", send)
        number = worker.engine.quarantine.ask([("t", number) for number in range(1200)])

    assert max(taken) < number


def test_the_commits_of_partitions_with_cases_are_told_however_many_there_are() -> None:
    cluster, last = FakeCluster(), ("t", 700)
    cluster.add(last, b"v")
    suspect = {"ask": 1, "suspects": [[*last, [[0, 0]], []]], "convicted": []}

    with InProcess(cluster, lambda _: None, max_deaths=3) as worker:
        answered_with(worker, suspect)
        worker.source.assign(*[("t", number) for number in range(701)])
        worker.until(lambda: any(frame["type"] == "acquitted" for frame in worker.link.frames))
        told = worker_stats(worker.engine).partitions
        gone = worker.source.revoke(last)
        worker.until(gone.is_set)

        assert len(told) == MAX_PARTITIONS
        assert (told[0].topic, told[0].partition) == last
        assert not worker.engine.quarantine.known
