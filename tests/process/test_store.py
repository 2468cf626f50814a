"""The store's thread on real files: full, read-only, corrupt, of another version, flooded."""

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from supervisor.parent.store import store as store_module
from supervisor.parent.store.store import Store, StoreUnavailableError, Trouble, migrate
from tests.looping import in_loop

SCHEMA = ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",)


def note(text: str) -> Callable[[sqlite3.Connection], None]:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))

    return write


def waits_for(event: threading.Event) -> Callable[[sqlite3.Connection], None]:
    def write(_: sqlite3.Connection) -> None:
        event.wait(10)

    return write


def notes(connection: sqlite3.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY id")]


class Opened:
    """A store and what it told of its troubles."""

    def __init__(self, path: Path, migrations: tuple[str, ...] = SCHEMA) -> None:
        self.troubles: list[Trouble] = []
        self.store = Store(path, migrations, on_trouble=self.troubles.append, retry=0.1)

    async def notes(self) -> list[str]:
        return await asyncio.wait_for(asyncio.wrap_future(self.store.ask(notes)), 10)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the condition is another thread's
                await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(path: Path, migrations: tuple[str, ...] = SCHEMA) -> AsyncIterator[Opened]:
    one = Opened(path, migrations)
    one.store.start()
    try:
        yield one
    finally:
        await one.store.close(5.0)


@contextlib.contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@in_loop
async def test_what_is_written_is_there_for_who_opens_the_file_next(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    async with opened(path) as one:
        for number in range(1200):
            assert one.store.put(note(str(number)), size=1)

    async with opened(path) as again:
        assert await again.notes() == [str(number) for number in range(1200)]
    assert path.stat().st_mode & 0o777 == 0o600


@in_loop
async def test_a_full_disk_is_told_once_and_nothing_is_lost_when_there_is_room_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.sqlite3") as one:
        one.store.put(note("before"), size=1)
        assert await one.notes() == ["before"]
        with no_file_longer_than(4096):
            for _ in range(3):
                one.store.put(note("x" * 5000), size=5000)
            await one.until(lambda: bool(one.troubles))
            await asyncio.sleep(0.3)
            assert [bool(trouble.error) for trouble in one.troubles] == [True]
        await one.until(lambda: len(one.troubles) > 1)

        assert one.troubles[1] == Trouble()
        assert await one.notes() == ["before", *["x" * 5000] * 3]


@in_loop
async def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "s.sqlite3"
    async with opened(path) as one:
        one.store.put(note("a"), size=1)
        await one.until(lambda: bool(one.troubles))
        path.parent.mkdir()

        await one.until(lambda: len(one.troubles) > 1)
        assert await one.notes() == ["a"]


@pytest.mark.parametrize("damage", ["no database at all" * 400, ""])
@in_loop
async def test_a_corrupt_file_is_moved_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s.sqlite3"
    async with opened(path) as one:
        for _ in range(100):
            one.store.put(note("x" * 1000), size=1)
    content = path.read_bytes()
    path.write_bytes(damage.encode() or content[:4096] + os.urandom(len(content) - 4096))

    async with opened(path) as one:
        for _ in range(50):
            one.store.put(note("new" * 500), size=1)
        await one.until(lambda: bool(one.troubles))
        assert one.troubles[0].moved_to == f"{path}.corrupt"
        assert await one.notes() == ["new" * 500] * 50
    assert path.with_name(f"{path.name}.corrupt").stat().st_size


@in_loop
async def test_a_file_of_an_earlier_version_is_migrated_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    async with opened(path) as one:
        one.store.put(note("old"), size=1)

    async with opened(path, (*SCHEMA, "ALTER TABLE notes ADD COLUMN kind TEXT DEFAULT 'plain'")) as one:
        assert await one.notes() == ["old"]
        found = await asyncio.wrap_future(one.store.ask(lambda c: c.execute("SELECT kind FROM notes").fetchall()))
        assert found == [("plain",)]


@in_loop
async def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "s.sqlite3", isolation_level=None)
    with contextlib.closing(connection):
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, (*SCHEMA, "CREATE TABLE more (x); CREATE TABLE notes (y)"))

        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("notes",)]


@in_loop
async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite3"
    async with opened(path, (*SCHEMA, "CREATE TABLE more (x)")) as one:
        one.store.put(note("newer"), size=1)
    before = path.read_bytes()

    one = Opened(path)
    one.store.start()
    one.store.put(note("older"), size=1)
    await one.until(lambda: bool(one.troubles))
    with pytest.raises(StoreUnavailableError):
        await one.notes()
    is_written = await one.store.close(0.2)

    assert "a newer one wrote it" in one.troubles[0].error
    assert not is_written
    assert path.read_bytes() == before


@in_loop
async def test_p6_a_full_queue_refuses_counts_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "QUEUE", 10)
    blocked = threading.Event()
    async with opened(tmp_path / "s.sqlite3") as one:
        one.store.put(waits_for(blocked), size=1)
        taken = [one.store.put(note(str(number)), size=1) for number in range(20)]
        blocked.set()
        await one.until(lambda: bool(one.troubles))

        assert taken == [True] * 9 + [False] * 11
        assert one.troubles == [Trouble(dropped=11)]
        assert await one.notes() == [str(number) for number in range(9)]


@in_loop
async def test_p6_the_queue_is_bounded_by_bytes_too(tmp_path: Path) -> None:
    one = Opened(tmp_path / "s.sqlite3")

    assert one.store.put(note("x"), size=store_module.QUEUE_BYTES)
    assert not one.store.put(note("x"), size=1)


@in_loop
async def test_one_write_that_is_wrong_holds_up_none_of_the_others(tmp_path: Path) -> None:
    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO nowhere VALUES (1)")

    def surrogate(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES (?)", ("\ud800",))

    async with opened(tmp_path / "s.sqlite3") as one:
        for write in (note("a"), wrong, note("b"), surrogate, note("c")):
            one.store.put(write, size=1)

        assert await one.notes() == ["a", "b", "c"]
        assert one.troubles == []


@in_loop
@pytest.mark.parametrize("error", [TypeError, RuntimeError, MemoryError])
async def test_a_write_that_raises_whatever_it_likes_ends_neither_the_thread_nor_the_others(
    tmp_path: Path, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(_: sqlite3.Connection) -> None:
        raise error

    async with opened(tmp_path / "s.sqlite3") as one:
        for write in (note("a"), wrong, note("b")):
            one.store.put(write, size=1)
        assert await one.notes() == ["a", "b"]

        one.store.put(wrong, size=1)
        one.store.put(note("c"), size=1)
        assert await one.notes() == ["a", "b", "c"]

    assert {record.message for record in caplog.records} == {"store.write_refused"}
    assert len(caplog.records) == 2


@in_loop
async def test_upkeep_that_raises_whatever_it_likes_is_told_and_the_thread_writes_on(tmp_path: Path) -> None:
    def upkeep(_: sqlite3.Connection) -> None:
        raise TypeError

    troubles: list[Trouble] = []
    store = Store(tmp_path / "s.sqlite3", SCHEMA, on_trouble=troubles.append, upkeep=upkeep, retry=0.01)
    store.start()
    try:
        async with asyncio.timeout(10):
            while not troubles:  # noqa: ASYNC110 - the store's thread tells
                await asyncio.sleep(0.01)
            store.put(note("a"), size=1)
            while len(troubles) < 2:  # noqa: ASYNC110 - the store's thread tells
                await asyncio.sleep(0.01)
        assert await asyncio.wait_for(asyncio.wrap_future(store.ask(notes)), 10) == ["a"]
    finally:
        await store.close(5.0)

    assert troubles == [Trouble("TypeError: "), Trouble()]


@in_loop
async def test_p8_a_stop_does_not_wait_longer_than_it_was_told(tmp_path: Path) -> None:
    one = Opened(tmp_path / "nowhere" / "s.sqlite3")
    one.store.start()
    one.store.put(note("a"), size=1)

    assert not await asyncio.wait_for(one.store.close(0.3), 10)


@in_loop
async def test_p7_a_question_is_answered_after_all_that_was_queued_before_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.sqlite3") as one:
        blocked = threading.Event()
        one.store.put(waits_for(blocked), size=1)
        for number in range(3 * store_module.BATCH):
            one.store.put(note(str(number)), size=1)
        answer = asyncio.ensure_future(one.notes())
        await asyncio.sleep(0)
        one.store.put(note("later"), size=1)
        blocked.set()

        assert (await answer)[: 3 * store_module.BATCH] == [str(number) for number in range(3 * store_module.BATCH)]


@in_loop
async def test_p8_a_question_behind_writes_that_cannot_be_written_is_told_so(tmp_path: Path) -> None:
    async with opened(tmp_path / "folder" / "s.sqlite3") as one:
        one.store.put(note("a"), size=1)

        with pytest.raises(StoreUnavailableError):
            await one.notes()


@in_loop
async def test_a_question_that_fails_is_the_failure_of_who_asked_alone(tmp_path: Path) -> None:
    def wrong(_: sqlite3.Connection) -> None:
        message = "no such cause"
        raise ValueError(message)

    async with opened(tmp_path / "s.sqlite3") as one:
        with pytest.raises(ValueError, match="no such cause"):
            await asyncio.wait_for(asyncio.wrap_future(one.store.ask(wrong)), 10)
        one.store.put(note("a"), size=1)

        assert await one.notes() == ["a"]
        assert one.troubles == []


@in_loop
async def test_p8_a_question_that_a_stop_comes_before_is_told_so(tmp_path: Path) -> None:
    one = Opened(tmp_path / "s.sqlite3")
    blocked = threading.Event()
    one.store.start()
    one.store.put(waits_for(blocked), size=1)
    for _ in range(2 * store_module.BATCH):
        one.store.put(note("a"), size=1)
    answer = one.store.ask(notes)
    closing = asyncio.ensure_future(one.store.close(0.0))
    await asyncio.sleep(0)
    blocked.set()
    await closing

    with pytest.raises(StoreUnavailableError):
        answer.result(0)
