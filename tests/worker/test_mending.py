"""Who looks for partitions that belong to nobody."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.kafka import holes
from supervisor.worker import mending
from supervisor.worker.engine import Engine
from supervisor.worker.mending import Mending
from tests.waiting import wait_until
from tests.worker.direct import group_spec
from tests.worker.in_process import worker_spec


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the groups that were looked at; nothing is missing there."""
    found: list[str] = []

    class Nothing:
        def __init__(self, _kafka: object, group: str, _topics: object) -> None:
            found.append(group)

        def find(self) -> set[Any]:
            return set()

    monkeypatch.setattr(mending, "FIRST_LOOK", 0.0)
    monkeypatch.setattr(holes, "Holes", Nothing)
    return found


def _start(slot: int, *, is_first: bool) -> Mending:
    spec = replace(worker_spec(group_spec("127.0.0.1:1", "g", ("t",), "handlers:process")), slot=slot)
    engine = SimpleNamespace(spec=spec, joined_at=1.0, rejoin="")
    made = Mending(cast("Engine", engine), is_first=is_first)
    made.start()
    return made


def test_a_slot_that_had_a_process_before_is_looked_after(looks: list[str]) -> None:
    _start(3, is_first=False)

    wait_until(lambda: looks)


def test_of_new_slots_the_first_looks_for_all(looks: list[str]) -> None:
    others = [_start(slot, is_first=True) for slot in (1, 2)]

    _start(0, is_first=True)

    wait_until(lambda: looks)
    for other in others:
        other.end()
    assert len(looks) == 1
