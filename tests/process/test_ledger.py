"""The ledger on a real file: what another version wrote, what is too old, and what is never lost."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from supervisor.core.accusations import Accusation
from supervisor.core.cases import Cause
from supervisor.core.docket import CONVICTED_FOR, SUSPECTED_FOR
from supervisor.core.events import Event
from supervisor.core.slot import Spawn
from supervisor.core.spec import Mode
from supervisor.parent.deaths import ledger as ledger_module
from supervisor.parent.deaths.ledger import Ledger
from supervisor.parent.deaths.ledger_file import ledger_file
from supervisor.parent.slots.starting import Starting
from supervisor.parent.store import store as store_module
from supervisor.parent.store.eventlog import EventLog
from tests.looping import in_loop

if TYPE_CHECKING:
    from supervisor.parent.slots.house import House
    from supervisor.parent.slots.slotfile import SlotFile


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


def held_by(event: threading.Event) -> Callable[[sqlite3.Connection], None]:
    def write(_: sqlite3.Connection) -> None:
        event.wait(30)

    return write


class Hung:
    """A ledger whose disk does not answer, and whose queue is full."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self._answers = threading.Event()
        self._ledger = ledger
        monkeypatch.setattr(store_module, "QUEUE", 1)
        assert ledger.store.put(held_by(self._answers), size=1)
        assert not ledger.store.put(lambda _: None, size=1)

    def answer(self) -> None:
        self._answers.set()

    async def written(self, folder: Path, count: int) -> None:
        """Look, as the parent does each second, until so many cases are in the file."""
        async with asyncio.timeout(10):
            while len(rows(folder)) != count:
                self._ledger.look()
                await asyncio.sleep(0.01)


@in_loop
async def test_p7_a_start_waits_visibly_for_a_death_that_found_the_queue_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as (ledger, events):
        hung, entered = Hung(ledger, monkeypatch), asyncio.Event()
        gate = SimpleNamespace(enter=lambda *_: entered.set())
        house = cast("House", SimpleNamespace(ledger=ledger, starts=gate, orphan_grace=lambda: 1.0))
        file = cast("SlotFile", None)
        starting = Starting(
            ("g", 0), file, house, spec=cast("Any", None), answer=cast("Any", None), survivor_killed=lambda *_: None
        )

        accuse(ledger, 7)
        starting.ask(Spawn(2, Mode.WORK))
        for _ in range(10):
            await asyncio.sleep(0)
        assert "in the ledger" in starting.note
        assert not entered.is_set()

        hung.answer()
        await asyncio.wait_for(entered.wait(), 10)
        assert rows(tmp_path) == {7: (3, "worker-killed")}
        assert starting.note == ""
        assert not told(events, "ledger.not_durable")


@in_loop
async def test_p8_a_disk_that_hangs_holds_up_no_start_for_ever_and_what_it_refused_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "DURABLE", 0.1)
    async with opened(tmp_path) as (ledger, events):
        hung = Hung(ledger, monkeypatch)

        accuse(ledger, 7, deaths=1)
        accuse(ledger, 8)
        await durable(ledger)
        assert told(events, "ledger.not_durable")
        accuse(ledger, 7, deaths=1)

        hung.answer()
        await hung.written(tmp_path, 2)
        assert rows(tmp_path) == {7: (2, "worker-killed"), 8: (3, "worker-killed")}
        assert {event.fields["dropped"] for event in told(events, "ledger.written")} <= {0}


@in_loop
async def test_p6_what_waits_for_a_full_queue_is_bounded_and_what_is_lost_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "DURABLE", 0.1)
    monkeypatch.setattr(ledger_module, "MOST_REFUSED", 2)
    async with opened(tmp_path) as (ledger, events):
        hung = Hung(ledger, monkeypatch)

        accuse(ledger, 1, 2, 3, deaths=1)
        hung.answer()
        await hung.written(tmp_path, 2)

        async with asyncio.timeout(10):
            while not told(events, "ledger.written"):  # noqa: ASYNC110 - the store's thread tells
                await asyncio.sleep(0.01)
        assert [event.fields["dropped"] for event in told(events, "ledger.written")] == [1]


@in_loop
async def test_many_slots_that_die_at_once_all_wait_for_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as (ledger, events):
        blocked = threading.Event()
        ledger.store.put(held_by(blocked), size=1)
        done: list[int] = []
        for slot in range(200):
            ledger.accuse("g", slot, Accusation(("t", 0, slot)), max_deaths=3, status=-11, found={})
            ledger.when_durable("g", slot, partial(done.append, slot))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not done

        blocked.set()
        async with asyncio.timeout(10):
            while len(done) < 200:  # noqa: ASYNC110 - the store's thread writes
                await asyncio.sleep(0.01)
        assert len(rows(tmp_path)) == 200
        assert not told(events, "ledger.not_durable")


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
