"""The event journal: what it keeps, for how long, and what it makes of a supervisor that was killed (P7, P3)."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.control.answers import EventEntry
from supervisor.core.event_query import EventQuery
from supervisor.core.events import Event, Severity
from supervisor.core.snapshot import SlotState
from supervisor.parent.store.eventlog import HEAVY, REMEMBERED, EventLog
from supervisor.parent.store.journal import KEPT, Journal, Retention, drop_old, drop_surplus, surplus_of
from supervisor.parent.store.journal_file import MIGRATIONS, UNREADABLE, journal_file, read_file, row
from supervisor.parent.store.store import migrate
from tests.looping import in_loop
from tests.process.parents import Parent
from tests.waiting import wait_until

EVERYTHING = EventQuery(severity=Severity.DEBUG, limit=500)


@asynccontextmanager
async def journal(folder: Path, *, grace: float = 600.0) -> AsyncIterator[tuple[Journal, EventLog]]:
    events = EventLog()
    one = Journal(folder, Retention(), events, grace=grace)
    await one.open()
    try:
        yield one, events
    finally:
        await one.close()


def started(events: EventLog, pid: int, *, slot: int = 0) -> None:
    fields: dict[str, str | int | float | bool | None] = {"pid": pid, "incarnation": 1, "mode": "work"}
    events.tell("slot.started", Severity.INFO, group="orders", slot=slot, fields=fields)


def exited(events: EventLog, pid: int, *, slot: int = 0) -> None:
    fields: dict[str, str | int | float | bool | None] = {"pid": pid, "class": "clean"}
    events.tell("worker.exited", Severity.WARNING, group="orders", slot=slot, fields=fields)


def texts(folder: Path, query: EventQuery = EVERYTHING) -> list[str]:
    return [entry.event.text for entry in read_file(journal_file(folder), query).entries]


def deaths(folder: Path) -> list[tuple[object, ...]]:
    found = read_file(journal_file(folder), EVERYTHING).entries
    return [
        (entry.event.slot, entry.event.fields["pid"], entry.event.fields["class"])
        for entry in found
        if entry.event.name == "worker.exited"
    ]


@in_loop
async def test_p7_an_event_is_read_as_it_was_told_and_numbers_go_on_over_restarts(tmp_path: Path) -> None:
    async with journal(tmp_path) as (one, events):
        events.tell(
            "x.y", Severity.CRITICAL, "text", group="g", slot=3, fields={"a": 1.5}, attachments={"stack": "s\nt"}
        )
        told = events.since(0).entries
        assert (await one.page(EventQuery())).entries == told

    async with journal(tmp_path) as (one, events):
        events.tell("x.z", Severity.INFO)
        page = await one.page(EventQuery())

        assert page.entries[:1] == told
        assert [(entry.seq, entry.event.name) for entry in page.entries] == [(1, "x.y"), (2, "x.z")]
        assert page.newest == 2


@in_loop
async def test_text_that_is_no_unicode_is_kept_escaped(tmp_path: Path) -> None:
    async with journal(tmp_path) as (_, events):
        events.tell("\ud800", Severity.INFO, "\ud801", fields={"a": "\ud802"})

    assert texts(tmp_path) == ["\ud801"]


@in_loop
async def test_questions_are_answered_from_the_journal_as_from_memory(tmp_path: Path) -> None:
    async with journal(tmp_path) as (one, events):
        for number in range(60):
            severity = (Severity.INFO, Severity.WARNING, Severity.DEBUG)[number % 3]
            events.tell("x.y", severity, str(number), group=f"g{number % 2}", slot=number % 4)
        await one.page(EventQuery())  # the thread has written what came before it
        for query in (
            EventQuery(),
            EventQuery(limit=7),
            EventQuery(since=30),
            EventQuery(since=30, limit=5),
            EventQuery(group="g1", slot=3),
            EventQuery(severity=Severity.WARNING, limit=4),
            EventQuery(after=time.time() + 60),
        ):
            from_file = await asyncio.to_thread(read_file, one.store.path, query)
            assert from_file == events.page(query)


@in_loop
async def test_p7_without_a_file_events_are_kept_in_memory_and_the_answer_says_so(tmp_path: Path) -> None:
    async with journal(tmp_path / "nowhere") as (one, events):
        events.tell("x.y", Severity.INFO, "told")
        page = await one.page(EventQuery())

        assert not page.is_complete
        assert [entry.event.name for entry in page.entries] == ["journal.unwritable", "x.y"]


@in_loop
async def test_p7_what_an_earlier_supervisor_left_open_is_closed_once_when_its_slot_starts(tmp_path: Path) -> None:
    async with journal(tmp_path) as (_, events):
        started(events, 11, slot=0)
        started(events, 12, slot=1)
        exited(events, 12, slot=1)
        started(events, 13, slot=1)

    async with journal(tmp_path) as (_, events):
        started(events, 11, slot=0)  # the same pid again, as in containers
        started(events, 21, slot=1)
        exited(events, 11, slot=0)
        exited(events, 21, slot=1)
    async with journal(tmp_path) as (_, events):
        started(events, 31)
        exited(events, 31)

    assert deaths(tmp_path) == [
        (1, 12, "clean"),
        (0, 11, "unknown"),
        (1, 13, "unknown"),
        (0, 11, "clean"),
        (1, 21, "clean"),
        (0, 31, "clean"),
    ]


@in_loop
async def test_p7_a_survivor_that_is_killed_is_one_death(tmp_path: Path) -> None:
    async with journal(tmp_path) as (_, events):
        started(events, 11)

    async with journal(tmp_path) as (_, events):
        events.tell("worker.exited", Severity.WARNING, group="orders", slot=0, fields={"pid": 11, "class": "survivor"})
        started(events, 21)
        exited(events, 21)

    assert deaths(tmp_path) == [(0, 11, "survivor"), (0, 21, "clean")]


@in_loop
async def test_p7_what_is_left_open_in_a_slot_that_is_no_more_is_closed_after_the_grace(tmp_path: Path) -> None:
    async with journal(tmp_path) as (_, events):
        started(events, 11, slot=7)

    async with journal(tmp_path, grace=0.05) as (_, events):
        closed = asyncio.Event()
        events.listen(lambda event: closed.set() if event.name == "worker.exited" else None)
        await asyncio.wait_for(closed.wait(), 10)

    assert deaths(tmp_path) == [(7, 11, "unknown")]


@in_loop
async def test_other_limits_hold_as_soon_as_they_are_told(tmp_path: Path) -> None:
    async with journal(tmp_path) as (one, events):
        events.tell("x.y", Severity.INFO, "old")
        one.retain(Retention(max_age=-1.0))  # what is older than a second from now is everything

    assert texts(tmp_path) == []


@in_loop
async def test_numbers_never_go_back_even_when_the_file_was_lost(tmp_path: Path) -> None:
    async with journal(tmp_path) as (_, events):
        for _ in range(5):
            events.tell("x.y", Severity.INFO)
    journal_file(tmp_path).write_bytes(b"no database" * 1000)

    async with journal(tmp_path) as (one, events):
        events.tell("x.y", Severity.INFO)
        page = await one.page(EventQuery(since=5))

    assert [entry.event.name for entry in page.entries] == ["journal.corrupt", "x.y"]
    assert page.entries[0].seq > 5


def filled(path: Path, count: int, size: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    migrate(connection, MIGRATIONS)
    connection.execute("BEGIN")
    for seq in range(1, count + 1):
        entry = EventEntry(seq, Event("x.y", Severity.INFO, float(seq), text="x" * size))
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row(entry))
    connection.execute("COMMIT")
    return connection


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [seq for (seq,) in connection.execute("SELECT seq FROM events ORDER BY seq")]


def test_events_older_than_max_age_are_dropped(tmp_path: Path) -> None:
    with contextlib.closing(filled(tmp_path / "j", 100, 10)) as connection:
        drop_old(connection, before=41.0)
        assert numbers(connection) == list(range(41, 101))

        drop_old(connection, before=1000.0)
        assert numbers(connection) == []


def test_a_journal_beyond_its_size_loses_its_oldest_and_gives_the_space_back(tmp_path: Path) -> None:
    with contextlib.closing(filled(tmp_path / "j", 2000, 1000)) as connection:
        drop_surplus(connection, 1 << 20)
        left = numbers(connection)

    assert left == list(range(2001 - len(left), 2001))
    assert 500 < len(left) < 1000
    assert (tmp_path / "j").stat().st_size <= 1 << 20


@pytest.mark.parametrize(
    ("count", "used", "max_size", "surplus"),
    [(1000, 100, 100, 0), (1000, 200, 100, 550), (1000, 101, 100, 109), (KEPT, 200, 1, 0), (0, 200, 100, 0)],
)
def test_the_surplus_is_what_brings_it_below_nine_tenths(count: int, used: int, max_size: int, surplus: int) -> None:
    assert surplus_of(count, used, max_size) == surplus


def test_p6_memory_keeps_the_attachments_of_a_few_events_only() -> None:
    log = EventLog()
    for _ in range(REMEMBERED + HEAVY):
        log.tell("x.y", Severity.INFO, attachments={"stack": "x" * 1000})

    kept = [bool(entry.event.attachments) for entry in log.since(0).entries]

    assert kept == [False] * (REMEMBERED - HEAVY) + [True] * HEAVY


# With a real supervisor over fake workers.


def shown(parent: Parent, *options: str) -> Result:
    config = parent.folder / "supervisor.toml"
    config.write_text(f'[supervisor]\nstate_dir = "{parent.folder / "state"}"\nruntime_dir = "{parent.folder / "run"}"')
    return CliRunner().invoke(cli, ["-c", str(config), "events", *options])


def told(result: Result) -> list[tuple[int, str]]:
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return [(line["seq"], line["name"]) for line in lines]


def test_p7_a_killed_supervisors_workers_are_closed_once_by_the_next_one(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 2})
    pids: list[int | None] = []
    for _ in range(2):
        with parent:
            pids += [parent.slot_when(SlotState.RUNNING, slot=slot).pid for slot in (0, 1)]
            wait_until(partial(are_started, parent, pids))
            parent.signal(signal.SIGKILL)
            parent.exit_code()
    with parent:
        pids += [parent.slot_when(SlotState.RUNNING, slot=slot).pid for slot in (0, 1)]

    kinds = {pid: [kind for _, found, kind in deaths(tmp_path / "state") if found == pid] for pid in pids}
    assert kinds == {pid: ["unknown"] for pid in pids[:4]} | {pid: ["requested"] for pid in pids[4:]}
    gone = [line for line in told(shown(parent, "--json", "-n", "500")) if line[1] == "supervisor.was_gone"]
    assert len(gone) == 2


def are_started(parent: Parent, pids: list[int | None]) -> bool:
    found = read_file(journal_file(parent.folder / "state"), EVERYTHING).entries
    return set(pids) <= {entry.event.fields.get("pid") for entry in found if entry.event.name == "slot.started"}


def test_the_command_asks_the_supervisor_and_reads_the_file_when_none_runs(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)
        wait_until(lambda: any(event.name == "worker.joined" for event in parent.events()))
        running = shown(parent, "--json")
        table = shown(parent, "--group", "orders")
    stopped = shown(parent, "--json")

    assert told(running) == told(stopped)[: len(told(running))]
    assert told(stopped)[-1][1] == "worker.exited"
    assert "orders/0" in table.stdout
    assert "worker.ready" in table.stdout
    assert "supervisor.started" not in table.stdout


def test_p7_every_state_a_slot_was_in_can_be_read_from_the_journal(tmp_path: Path) -> None:
    with Parent(tmp_path, failover_after=0.05, backoff=[0.5, 2.0, 2.0, 0.0]) as parent:
        worker = parent.slot_when(SlotState.RUNNING)
        parent.behave("crash")
        os.kill(worker.pid or 0, signal.SIGKILL)
        parent.slot_when(SlotState.BACKOFF)
        parent.behave("work")
        parent.slot_when(SlotState.RUNNING, incarnation=3)
        parent.client.stop("orders/0")
        parent.slot_when(SlotState.STOPPED)
        parent.behave("exit 78")
        parent.client.start("orders/0")
        parent.exit_code()

    found = read_file(journal_file(tmp_path / "state"), EVERYTHING).entries
    changes = [entry.event.fields for entry in found if entry.event.name == "slot.state"]
    path = [str(changes[0]["from"]), *(str(change["to"]) for change in changes)]

    assert [change["from"] for change in changes] == path[:-1], "each change begins where the last one ended"
    assert set(path) == {state.value for state in SlotState}
    assert "slot.state" not in parent.errors.read_text(), "it is no noise in the log"


def test_follow_goes_on_over_a_restart_of_the_supervisor_and_misses_nothing(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    shown(parent, "--json")  # writes the config
    command = [
        sys.executable,
        "-m",
        "supervisor",
        "-c",
        str(tmp_path / "supervisor.toml"),
        "events",
        "--follow",
        "--json",
    ]
    output, errors = tmp_path / "followed", tmp_path / "said"
    with parent, output.open("wb") as out, errors.open("wb") as err:
        parent.slot_when(SlotState.RUNNING)
        follower = subprocess.Popen(command, stdout=out, stderr=err)
        wait_until(output.read_text)
        parent.signal(signal.SIGKILL)
        parent.exit_code()
        wait_until(errors.read_text)
    with parent:
        parent.slot_when(SlotState.RUNNING)
        wait_until(lambda: output.read_text().count("worker.joined") == 2, 20)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 0

    assert errors.read_text().count("waiting for it") == 1
    seqs = [json.loads(line)["seq"] for line in output.read_text().splitlines()]
    everything = read_file(journal_file(tmp_path / "state"), EventQuery(limit=500)).entries
    assert seqs == [entry.seq for entry in everything][: len(seqs)]


def test_nothing_running_and_no_journal_is_one_clear_line(tmp_path: Path) -> None:
    result = shown(Parent(tmp_path))

    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 2)
    assert "nothing is running and there is no journal" in result.stderr


@pytest.mark.parametrize(("since", "count"), [("1h", 1), ("2000-01-31", 1), ("2000-01-31 14:00", 1), ("2099-01-01", 0)])
def test_since_takes_durations_and_dates(tmp_path: Path, since: str, count: int) -> None:
    @in_loop
    async def fill() -> None:
        async with journal(tmp_path / "state") as (_, events):
            events.tell("x.y", Severity.INFO)

    (tmp_path / "state").mkdir()
    fill()
    assert len(told(shown(Parent(tmp_path), "--json", "--since", since))) == count


def test_a_time_nobody_understands_is_wrong_usage(tmp_path: Path) -> None:
    result = shown(Parent(tmp_path), "--since", "yesterday")

    assert result.exit_code == 2
    assert '"2h" ago' in result.stderr


@in_loop
async def test_what_another_version_wrote_into_the_journal_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    async with journal(tmp_path) as (_, events):
        for text in ("as ever", "newer", "torn"):
            events.tell("x.y", Severity.INFO, text, group="g", slot=1)
        started(events, 11)
        started(events, 12, slot=1)
    with contextlib.closing(sqlite3.connect(journal_file(tmp_path))) as connection:
        newer = json.dumps({"name": "x.y", "severity": "dire", "at": 1.0, "text": "newer"})
        connection.execute("UPDATE events SET severity = 'dire', event = ? WHERE seq = 2", (newer,))
        connection.execute("UPDATE events SET event = '{', grp = CAST(X'67ff' AS TEXT) WHERE seq = 3")
        connection.execute("UPDATE incarnations SET pid = 'none' WHERE pid = 11")
        connection.commit()

    found = read_file(journal_file(tmp_path), EventQuery(severity=Severity.INFO)).entries
    assert [(one.seq, one.event.name, one.event.severity, one.event.text) for one in found[:3]] == [
        (1, "x.y", Severity.INFO, "as ever"),
        (2, "x.y", Severity.WARNING, UNREADABLE),
        (3, "x.y", Severity.INFO, UNREADABLE),
    ]
    assert (found[1].event.group, found[1].event.slot, found[2].event.group) == ("g", 1, "g\ufffd")
    async with journal(tmp_path) as (one, events):
        (event,) = [entry.event for entry in events.since(0).entries if entry.event.name == "supervisor.was_gone"]
        assert event.fields["open"] == 1
        page = await one.page(EventQuery(limit=500))
        assert [entry.seq for entry in page.entries[:3]] == [1, 2, 3]
