"""The ledger on a real file: what another version wrote, what is too old, and what is never lost."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from supervisor.core.accusations import Accusation, Cause
from supervisor.core.docket import CONVICTED_FOR, SUSPECTED_FOR
from supervisor.core.events import Event
from supervisor.parent.deaths import ledger as ledger_module
from supervisor.parent.deaths.ledger import Ledger
from supervisor.parent.deaths.ledger_file import ledger_file
from supervisor.parent.store.eventlog import EventLog
from tests.looping import in_loop


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Ledger, EventLog]]:
    events = EventLog()
    one = Ledger(folder, events)
    await one.open()
    try:
        yield one, events
    finally:
        await one.close()


def accuse(ledger: Ledger, *offsets: int, deaths: int = 3) -> None:
    for offset in offsets:
        for _ in range(deaths):
            ledger.accuse("g", 0, Accusation(("t", 0, offset)), max_deaths=3, status=-11, found={"stack": "in f"})


async def durable(ledger: Ledger) -> None:
    done = asyncio.Event()
    ledger.when_durable("g", 0, done.set)
    await asyncio.wait_for(done.wait(), 10)


def change(folder: Path, statement: str, *values: float) -> None:
    with contextlib.closing(sqlite3.connect(ledger_file(folder))) as connection:
        connection.execute(statement, values)
        connection.commit()


def rows(folder: Path) -> dict[int, tuple[object, object]]:
    """Return what is in the file of each offset: its deaths and its cause."""
    with contextlib.closing(sqlite3.connect(ledger_file(folder))) as connection:
        found = connection.execute("SELECT offset, deaths, cause FROM accused").fetchall()
    return {offset: (deaths, cause) for offset, deaths, cause in found}


def told(events: EventLog, name: str) -> list[Event]:
    return [entry.event for entry in events.since(0).entries if entry.event.name == name]


@in_loop
async def test_p7_what_another_version_wrote_is_read_as_far_as_it_goes_and_told_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (ledger, _):
        accuse(ledger, 1, 2, 3, 4)
        await durable(ledger)
    change(tmp_path, "UPDATE accused SET cause = 'disk-eaten' WHERE offset = 1")
    change(tmp_path, "UPDATE accused SET deaths = 'many' WHERE offset = 2")
    change(tmp_path, "UPDATE accused SET stack = CAST(X'ff' AS TEXT) WHERE offset = 3")

    async with opened(tmp_path) as (ledger, events):
        cases = ledger.docket.of("g", ("t", 0))
        assert list(cases) == [1, 3, 4]
        assert all(case.convicted for case in cases.values())
        assert cases[1].cause is Cause.KILLED
        (event,) = told(events, "ledger.unread")
        assert (event.fields["odd"], event.fields["unread"]) == (2, 1)
        accuse(ledger, 5)
        await durable(ledger)
        assert not told(events, "ledger.not_durable")

    assert rows(tmp_path) == {
        1: (3, "disk-eaten"),
        2: ("many", "worker-killed"),
        3: (3, "worker-killed"),
        4: (3, "worker-killed"),
        5: (3, "worker-killed"),
    }


@in_loop
async def test_what_is_too_old_is_forgotten_in_the_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "AGE_EVERY", 0.0)
    async with opened(tmp_path) as (ledger, _):
        accuse(ledger, 1, 2)
        accuse(ledger, 3, deaths=1)
        accuse(ledger, 4, deaths=2)
        await durable(ledger)
    for offset, age in ((1, CONVICTED_FOR + 100), (2, CONVICTED_FOR - 100), (3, SUSPECTED_FOR + 100)):
        change(tmp_path, "UPDATE accused SET last_at = last_at - ? WHERE offset = ?", age, offset)

    async with opened(tmp_path) as (ledger, _):
        assert list(ledger.docket.of("g", ("t", 0))) == [1, 2, 3, 4]
        ledger.look()
        assert list(ledger.docket.of("g", ("t", 0))) == [2, 4]

    assert set(rows(tmp_path)) == {2, 4}
