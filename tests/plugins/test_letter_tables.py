"""Dead letters in SQLite files, made by hand as the sink's table is, so that it stays readable without its code."""

import json
import shutil
import sqlite3
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from supervisor.core.spools import TABLE as TABLE_FILE
from supervisor.core.spools import letter_folder
from supervisor.inspector.letter_source import MOST_BYTES, SourceError
from supervisor.inspector.letter_tables import TableLetters
from supervisor.inspector.replay_progress import progress_file
from supervisor.plugin import Letter, WorkerContext
from supervisor_plugins.dlq_sqlite import SqliteSink
from tests.unit.test_jsonable import WORKER

Opened = Callable[..., TableLetters]
TABLE = """
create table letters (
    id integer primary key autoincrement, audit_id text not null, topic text not null, key blob, value blob,
    headers text not null, source_topic text not null, source_partition integer not null,
    source_offset integer not null, disposition text not null, timestamp real, written_at real not null,
    slot integer not null
)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "letters.sqlite"
    with closing(sqlite3.connect(file)) as made:
        made.execute("pragma journal_mode = wal")
        made.execute(TABLE)
    return file


def put(path: Path, *offsets: int, headers: str | None = None) -> None:
    told = headers or json.dumps([["trace", b64encode(b"\xfe").decode()], ["empty", None]])
    with closing(sqlite3.connect(path)) as made, made:
        for offset in offsets:
            row = (f"g/t/1/{offset}", "t.dlq", b"k", b"\x00\xff", told, "t", 1, offset, "timeout", 12.5, 30.0, 0)
            names = "audit_id, topic, key, value, headers, source_topic, source_partition, source_offset, disposition"
            made.execute(
                f"insert into letters ({names}, timestamp, written_at, slot) values ({', '.join('?' * 12)})",  # noqa: S608
                row,
            )


@pytest.fixture
def opened(path: Path, tmp_path: Path) -> Iterator[Opened]:
    made: list[TableLetters] = []

    def source(*, pending: bool = True, meaning: str = "m", one: str = "", name: str = "default") -> TableLetters:
        found = TableLetters([path], progress_file(str(tmp_path), "g", name))
        made.append(found)
        found.open(pending=pending, meaning=meaning, one=one)
        return found

    yield source
    for one in made:
        one.close()


def offsets(source: TableLetters, most: int = 100) -> list[int | None]:
    return [letter.view.offset for letter in source.read(most)]


def test_rows_are_read_until_where_they_ended_then(path: Path, opened: Opened) -> None:
    put(path, 1, 2)
    source = opened()
    put(path, 3)

    first, second = source.read(100)

    assert (first.id, first.key, first.value) == ("letters.sqlite@1", b"k", b"\x00\xff")
    assert first.headers == (("trace", b"\xfe"), ("empty", None))
    assert (first.view.audit_id, first.view.topic, first.view.disposition) == ("g/t/1/1", "t", "timeout")
    assert (second.view.offset, source.total, source.read(1)) == (2, 2, [])


def test_what_the_sink_writes_is_read(context: WorkerContext, letter: Letter) -> None:
    sink = SqliteSink(SqliteSink.Options())
    sink.worker_started(context)
    sink.send_dead_letter(letter)
    folder = Path(letter_folder(context.state_dir, WORKER.group, "dlq_sqlite"))
    source = TableLetters([folder / TABLE_FILE], Path(context.state_dir) / "p.json")
    source.open(pending=True, meaning="m")

    (found,) = source.read(10)
    source.close()
    sink.worker_stopping()

    assert (found.key, found.value, found.headers) == (letter.key, letter.value, letter.headers)
    assert (found.topic, found.view.audit_id, found.view.origin) == ("orders.dlq", letter.audit_id, "orders/1@812")


def test_a_replay_goes_on_and_marks_what_it_may_have_sent(path: Path, opened: Opened) -> None:
    put(path, 1, 2, 3, 4)
    killed = opened()
    killed.done(killed.read(1))
    killed.intend(killed.read(2))

    source = opened()
    found = source.read(100)

    assert [(one.view.offset, source.is_again(one)) for one in found] == [(2, True), (3, True), (4, False)]
    source.intend(found)
    source.done(found)
    assert offsets(opened()) == []
    assert offsets(opened(pending=False)) == [1, 2, 3, 4]


def test_rows_that_are_dropped_are_gone(path: Path, opened: Opened) -> None:
    put(path, 1, 2, 3)
    source = opened()

    assert source.delete("letters.sqlite", {1, 3, 99}) == 2
    assert offsets(opened()) == [2]


def test_one_letter_is_found_by_its_name(path: Path, opened: Opened) -> None:
    put(path, 1, 2, 3)

    assert offsets(opened(one="letters.sqlite@2")) == [2]


def test_another_file_of_the_same_name_is_begun_anew(path: Path, opened: Opened) -> None:
    put(path, 1, 2, 3)
    done = opened()
    done.done(done.read(100))
    done.close()
    for one in path.parent.glob("letters.sqlite*"):
        one.unlink()
    with closing(sqlite3.connect(path)) as made:
        made.execute(TABLE)
    put(path, 9)

    assert offsets(opened()) == [9]


def test_rows_that_hold_no_letter_are_counted(path: Path, opened: Opened) -> None:
    put(path, 1, headers="no json")
    put(path, 2)
    source = opened()

    assert (offsets(source), source.unreadable) == ([2], 1)


def test_p6_rows_are_read_a_few_at_a_time_where_they_are_large(path: Path, opened: Opened) -> None:
    put(path, *range(5))
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("update letters set value = zeroblob(?)", (MOST_BYTES // 2,))
    source = opened()

    assert [offsets(source), offsets(source), offsets(source), offsets(source)] == [[0, 1], [2, 3], [4], []]


def test_a_file_that_is_no_database_says_so_and_one_that_is_missing_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("no database, and long enough to be looked at " * 100)
    broken = TableLetters([tmp_path / "x.sqlite"], tmp_path / "p.json")
    missing = TableLetters([tmp_path / "y.sqlite"], tmp_path / "p.json")

    with pytest.raises(SourceError, match="not a database"):
        broken.open(pending=True, meaning="m")
    broken.close()
    missing.open(pending=True, meaning="m")

    assert missing.read(1) == []
    assert not (tmp_path / "y.sqlite").exists()


def test_a_table_of_the_same_name_elsewhere_is_not_where_another_stands(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "backup" / path.name
    elsewhere.parent.mkdir()
    put(path, 1, 2)
    shutil.copy(path, elsewhere)
    progress = progress_file(str(tmp_path), "g", "default")
    with closing(TableLetters([path], progress)) as source:
        source.open(pending=True, meaning="m")
        source.done(source.read(10))

    with closing(TableLetters([elsewhere], progress)) as other, closing(TableLetters([path], progress)) as again:
        other.open(pending=True, meaning="m")
        again.open(pending=True, meaning="m")

        assert len(other.read(10)) == 2
        assert again.read(10) == []
