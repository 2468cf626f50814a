"""The parent's side of the inspector: what it takes, what it refuses, and its child's ends."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.child_specs import InspectorSpec
from supervisor.core.lag import GroupLag
from supervisor.parent import inspector as module
from supervisor.parent.inspector import Inspector
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.store.eventlog import EventLog
from tests.plugins.test_findings import SPEC

FAKE = Path(__file__).parent / "fake_inspector.py"
READY = {"type": "ready"}
GROUP = SPEC.name


def rows(*found: tuple[int, int | None, int], topic: str = "t") -> dict[str, Any]:
    made = [[partition, 0, lag or 0, lag, owner] for partition, lag, owner in found]
    return {"type": "lag", "group": GROUP, "topic": topic, "owners": ["", f"web-1-{GROUP}-0", "them"], "rows": made}


def ends(count: int, **more: Any) -> dict[str, Any]:
    found = {"type": "lag_ends", "group": GROUP, "count": count, "took": 0.1, "missing": [], "denied": []}
    return {**found, "members": [[f"web-1-{GROUP}-0", "/10.0.0.1", 2], ["them", "/10.0.0.2", 1]], **more}


BEGINS = {"type": "lag_begins", "group": GROUP}


class Watched:
    def __init__(self, inspector: Inspector, events: EventLog) -> None:
        self.inspector = inspector
        self.events = events
        self.heard: list[GroupLag] = []
        inspector.listener = lambda _group, lag: self.heard.append(lag)

    def lag(self) -> GroupLag:
        found = self.inspector.lag(GROUP)
        assert found is not None
        return found

    def told(self, name: str) -> list[str]:
        return [entry.event.text for entry in self.events.since(0).entries if entry.event.name == name]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - a test polls
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watched(folder: Path, *script: dict[str, Any], dies: bool = False) -> AsyncIterator[Watched]:
    path = folder / "script"
    path.write_text("\n".join(map(json.dumps, script)))
    exits, events = ExitWatch(), EventLog()
    spec = InspectorSpec("web-1", (SPEC,), 5.0, os.getpid(), "text", "info")
    program = (sys.executable, "-P", str(FAKE), "--script", str(path), *(("--end",) if dies else ()))
    inspector = Inspector(spec, exits=exits, events=events, program=program)
    inspector.start()
    try:
        yield Watched(inspector, events)
    finally:
        await inspector.stop()
        exits.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_DELAY", 0.0)


def test_a_reading_counts_when_all_of_it_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        begun = [READY, BEGINS, rows((0, 7, 1), (1, None, 0))]
        async with watched(tmp_path, *begun, rows((0, 3, 2), topic="u"), ends(3), BEGINS, rows((0, 9, 1))) as seen:
            assert seen.lag() == GroupLag(trouble="not read yet")
            await seen.until(lambda: seen.heard)
            found = seen.lag()

            assert found.total == 10
            assert [(one.place, one.lag, one.owner) for one in found.partitions] == [
                (("t", 0), 7, f"web-1-{GROUP}-0"),
                (("t", 1), None, ""),
                (("u", 0), 3, "them"),
            ]
            assert [(one.client_id, one.host, one.is_ours) for one in found.members or ()] == [
                (f"web-1-{GROUP}-0", "10.0.0.1", True),
                ("them", "10.0.0.2", False),
            ]
            assert found.age is not None
            assert found.age >= 0.1

    asyncio.run(main())


@pytest.mark.parametrize(
    "frame",
    [
        ends(2),
        {**BEGINS, "group": "nobody's"},
        {"type": "lag"},
        {"type": "lag", "group": GROUP, "topic": "t", "owners": [], "rows": [[0, 0, 0, 0, 5]]},
        {"type": "lag", "group": GROUP, "topic": "t", "owners": [], "rows": [["x"]]},
        {"type": "lag_ends", "group": GROUP, "count": 0},
    ],
)
def test_what_is_no_whole_reading_is_none(tmp_path: Path, frame: dict[str, Any]) -> None:
    async def main() -> None:
        async with watched(tmp_path, READY, BEGINS, frame, BEGINS, rows((0, 1, 0)), ends(1)) as seen:
            await seen.until(lambda: seen.heard)
            assert [lag.total for lag in seen.heard] == [1]

    asyncio.run(main())


def test_an_old_reading_has_an_age_and_no_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE", -1.0)

    async def main() -> None:
        script = [READY, BEGINS, rows((0, 1, 0)), ends(1, took=60.0)]
        async with watched(tmp_path, *script, {"type": "trouble", "group": GROUP, "text": "_TRANSPORT"}) as seen:
            await seen.until(lambda: seen.lag().trouble == "_TRANSPORT")
            found = seen.lag()
            assert (found.total, found.partitions, found.members) == (None, (), None)
            assert found.age is not None
            assert found.age >= 60

    asyncio.run(main())


def test_p7_a_missing_topic_is_told_once_and_once_that_it_came(tmp_path: Path) -> None:
    async def main() -> None:
        gone = ends(0, missing=["t"], denied=["u"])
        async with watched(tmp_path, READY, BEGINS, gone, BEGINS, gone, BEGINS, ends(0, denied=["u"])) as seen:
            await seen.until(lambda: len(seen.heard) == 3)
            assert seen.told("topic.missing") == [
                "topic t does not exist",
                "topic u may not be looked at: no right to DESCRIBE it",
            ]
            assert len(seen.told("topic.found")) == 1

    asyncio.run(main())


def test_p7_a_child_that_ends_is_told_and_started_again_and_the_lag_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STARTS", Backoff(0.01, 1.0, 0.01, 0.0))

    async def main() -> None:
        async with watched(tmp_path, READY, dies=True) as seen:
            await seen.until(lambda: len(seen.told("inspector.exited")) >= 2)
            assert seen.told("inspector.exited")[0] == "exit code 3; starts again; until then lag is unknown"
            assert seen.lag().total is None

    asyncio.run(main())


def test_p8_a_child_that_says_nothing_any_more_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT", -4.5)
    monkeypatch.setattr(module, "STARTS", Backoff(0.01, 1.0, 0.01, 0.0))

    async def main() -> None:
        async with watched(tmp_path, READY) as seen:
            await seen.until(lambda: seen.told("inspector.exited"))
            assert seen.told("inspector.exited")[0].startswith("SIGKILL")

    asyncio.run(main())


def test_without_a_spec_there_is_no_child_and_no_lag() -> None:
    async def main() -> None:
        exits = ExitWatch()
        inspector = Inspector(None, exits=exits, events=EventLog())
        inspector.start()
        await asyncio.sleep(0)
        assert (inspector.child, inspector.lag("orders")) == (None, None)
        await inspector.stop()
        exits.close()

    asyncio.run(main())
