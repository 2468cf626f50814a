"""The parent's eye on spools: when it has a child drain them, and what it tells of that; the child is a fake."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.dlq import Counts, DlqAnswer
from supervisor.core.events import Severity
from supervisor.core.jsonable import to_json
from supervisor.core.spec import Mode
from supervisor.parent.groups import spools as module
from supervisor.parent.groups.spools import Spools
from supervisor.parent.plan import Plan
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.store.eventlog import EventLog
from tests.looping import in_loop
from tests.process.parent_program import make_plan

CHILD = """
import json, pathlib, sys
request = json.load(sys.stdin)
here = pathlib.Path(sys.argv[1])
with (here / "asked").open("a") as file:
    file.write(request["group"]["name"] + " " + request["verb"] + "\\n")
answer = json.loads((here / "answer").read_text())
if not answer["error"]:
    for one in (here / "state/dead-letters" / request["group"]["name"]).iterdir():
        one.unlink()
print(json.dumps({"type": "progress"}))
print(json.dumps({"type": "end", "answer": answer}))
"""


@dataclass
class Supervised:
    plan: Plan
    events: EventLog


@dataclass
class House:
    folder: Path
    events: EventLog

    def spool(self, group: str, name: str = "0.jsonl") -> Path:
        file = self.folder / "state" / "dead-letters" / group / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file

    def answer(self, counts: Counts = Counts(), error: str = "") -> None:  # noqa: B008 - frozen
        (self.folder / "answer").write_text(json.dumps(to_json(DlqAnswer(counts, error=error))))

    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def told(self, name: str) -> list[Any]:
        return [entry.event for entry in self.events.since(0).entries if entry.event.name == name]


@asynccontextmanager
async def looking(
    folder: Path, *groups: str, fallback: str = "dlq_file", sink: str = "dlq_kafka"
) -> AsyncIterator[House]:
    events, exits = EventLog(), ExitWatch()
    plan = make_plan(folder, dict.fromkeys(groups, 1), {})
    letters = replace(plan.groups[0].spec(0, 0, Mode.WORK).group.dead_letters, fallback=fallback, sink=sink)
    plan = make_plan(folder, dict.fromkeys(groups, 1), {}, changes={one: {"dead_letters": letters} for one in groups})
    house = House(folder, events)
    spools = Spools(Supervised(plan, events), exits, program=(sys.executable, "-c", CHILD, str(folder)), look=0.02)
    spools.start()
    try:
        yield house
    finally:
        await spools.stop()
        exits.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - of a file
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITS", Backoff(0.05, 1.0, 0.05, jitter=0.0))


@in_loop
async def test_p7_a_spool_is_drained_and_told_once(tmp_path: Path) -> None:
    async with looking(tmp_path, "orders", "bills") as house:
        house.answer(Counts(read=3, sent=3, files=1))
        file = house.spool("orders")
        await until(lambda: house.told("spool.drained"))
        await asyncio.sleep(0.1)

        (event,) = house.told("spool.drained")
        assert (event.group, event.severity, event.fields["letters"]) == ("orders", Severity.INFO, 3)
        assert house.asked() == ["orders drain"]
        assert not file.exists()


@in_loop
async def test_what_cannot_be_drained_is_tried_again_and_told_once_until_it_can(tmp_path: Path) -> None:
    async with looking(tmp_path, "orders") as house:
        house.answer(error="UNKNOWN_TOPIC")
        house.spool("orders")
        await until(lambda: len(house.asked()) >= 5)
        house.answer(Counts(read=1, sent=1, files=1, rejected=1))
        await until(lambda: house.told("spool.drained"))

        (stuck,) = house.told("spool.stuck")
        assert "UNKNOWN_TOPIC" in stuck.text
        assert house.told("spool.drained")[0].severity is Severity.WARNING, "something was put aside"


@in_loop
async def test_a_sink_that_takes_letters_again_is_tried_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITS", Backoff(1000.0, 1.0, 1000.0, jitter=0.0))
    async with looking(tmp_path, "orders") as house:
        house.answer(error="down")
        house.spool("orders")
        await until(house.asked)
        house.answer(Counts(read=1, sent=1, files=1))
        house.events.tell("dead_letter.recovered", Severity.INFO, group="orders")
        await until(lambda: house.told("spool.drained"))

        assert len(house.asked()) <= 2


@pytest.mark.parametrize(("fallback", "sink"), [("", "dlq_kafka"), ("", "dlq_file"), ("mine", "dlq_kafka")])
def test_files_that_are_no_spool_are_left_alone(tmp_path: Path, fallback: str, sink: str) -> None:
    @in_loop
    async def run() -> None:
        async with looking(tmp_path, "orders", fallback=fallback, sink=sink) as house:
            house.spool("orders")
            await asyncio.sleep(0.3)

            assert house.asked() == []
            assert house.told("spool.left_over") == []

    run()


@in_loop
async def test_letters_of_groups_that_do_not_run_here_are_told_once(tmp_path: Path) -> None:
    async with looking(tmp_path, "orders") as house:
        house.spool("gone")
        house.spool("empty", "0.jsonl.rejected")
        await until(lambda: house.told("spool.left_over"))
        await asyncio.sleep(0.1)

        (event,) = house.told("spool.left_over")
        assert event.fields["folder"].endswith("dead-letters/gone")


@in_loop
async def test_a_child_that_dies_is_a_failure_like_any_other(tmp_path: Path) -> None:
    async with looking(tmp_path, "orders") as house:
        (tmp_path / "answer").write_text("no json")
        house.spool("orders")
        await until(lambda: house.told("spool.stuck"))

        assert "no answer" in house.told("spool.stuck")[0].text
