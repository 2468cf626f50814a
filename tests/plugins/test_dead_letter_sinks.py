import base64
import errno
import fcntl
import json
import os
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.plugin import Letter, WorkerContext
from supervisor_plugins.dlq_file import FileSink
from supervisor_plugins.dlq_kafka import KafkaSink
from supervisor_plugins.dlq_sqlite import SqliteSink


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def sink(context: WorkerContext) -> Any:
    made = FileSink(FileSink.Options())
    made.worker_started(context)
    yield made
    made.worker_stopping()


@pytest.fixture
def path(context: WorkerContext) -> Path:
    return Path(context.state_dir) / "dead-letters" / "orders" / "3.jsonl"


def test_the_kafka_sink_has_the_record_produced_as_it_was(letter: Letter) -> None:
    output = KafkaSink().send_dead_letter(letter)

    assert (output.topic, output.partition, output.timestamp) == ("orders.dlq", 1, None)
    assert (output.key, output.value, output.headers) == (b"k", b"\x00\xff", letter.headers)


def test_the_file_sink_refuses_before_it_was_started(letter: Letter) -> None:
    with pytest.raises(RuntimeError, match="before the worker had started"):
        FileSink(FileSink.Options()).send_dead_letter(letter)


def test_the_file_sink_keeps_every_byte(sink: FileSink, path: Path, letter: Letter) -> None:
    sink.send_dead_letter(letter)
    sink.send_dead_letter(replace(letter, key=None, value=None, source_offset=813))

    first, second = lines(path)
    assert first.pop("written_at") > 0
    assert first == {
        "v": 1,
        "audit_id": "orders/orders/1/812",
        "topic": "orders.dlq",
        "key": base64.b64encode(b"k").decode(),
        "value": base64.b64encode(b"\x00\xff").decode(),
        "headers": [["trace", base64.b64encode(b"\xfe").decode()], ["empty", None]],
        "source": {"topic": "orders", "partition": 1, "offset": 812},
        "disposition": "error",
        "timestamp": 12.5,
    }
    assert (second["key"], second["value"]) == (None, None)


def test_only_the_owner_may_read_the_file(sink: FileSink, path: Path, letter: Letter) -> None:
    umask = os.umask(0)
    try:
        sink.send_dead_letter(letter)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_letter_is_synced_before_the_sink_returns(
    sink: FileSink, path: Path, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        real(file)
        if stat.S_ISREG(os.fstat(file).st_mode):
            synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fsync", fsync)

    sink.send_dead_letter(letter)

    assert synced == [path.stat().st_size]


def test_a_line_that_a_dead_writer_left_unfinished_spoils_only_itself(
    sink: FileSink, path: Path, letter: Letter
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"v": 1, "audit')

    sink.send_dead_letter(letter)

    torn, whole, rest = path.read_bytes().split(b"\n")
    assert torn == b'{"v": 1, "audit'
    assert json.loads(whole)["audit_id"] == letter.audit_id
    assert rest == b""


def test_after_a_failed_sync_the_file_is_opened_anew(
    sink: FileSink, path: Path, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.send_dead_letter(letter)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            sink.send_dead_letter(letter)
    path.unlink()
    sink.send_dead_letter(letter)

    assert len(lines(path)) == 1


def test_threads_do_not_mix_their_lines(sink: FileSink, path: Path, letter: Letter) -> None:
    def work(thread: int) -> None:
        for number in range(20):
            sink.send_dead_letter(replace(letter, value=bytes(5000), source_offset=thread * 100 + number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    offsets = [line["source"]["offset"] for line in lines(path)]
    assert sorted(offsets) == sorted(thread * 100 + number for thread in range(4) for number in range(20))


@pytest.mark.parametrize("group", ["../../etc", "..", ".", "a/b", ".hidden"])
def test_no_groups_name_leads_out_of_the_folder(context: WorkerContext, letter: Letter, group: str) -> None:
    sink = FileSink(FileSink.Options())
    sink.worker_started(replace(context, group=group))

    sink.send_dead_letter(letter)
    sink.worker_stopping()

    (written,) = Path(context.state_dir).rglob("*.jsonl")
    assert written.parent.parent == Path(context.state_dir) / "dead-letters"


def test_another_folder_may_be_named(context: WorkerContext, letter: Letter, tmp_path: Path) -> None:
    sink = FileSink(FileSink.Options(directory=str(tmp_path / "spool")))
    sink.worker_started(context)

    sink.send_dead_letter(letter)
    sink.worker_stopping()

    assert (tmp_path / "spool" / "orders" / "3.jsonl").is_file()


def test_a_full_disk_leaves_no_piece_of_a_line_behind(
    sink: FileSink, path: Path, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.send_dead_letter(letter)
    before = path.read_bytes()
    real = os.write

    def write(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:-50])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space"):
            sink.send_dead_letter(letter)
    assert path.read_bytes() == before
    sink.send_dead_letter(letter)

    assert len(lines(path)) == 2


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_was_moved_away_gets_no_more_letters(
    sink: FileSink, path: Path, letter: Letter, *, is_replaced: bool
) -> None:
    sink.send_dead_letter(letter)
    moved = path.rename(path.with_suffix(".moved"))
    if is_replaced:
        path.touch()

    sink.send_dead_letter(letter)

    assert [len(lines(moved)), len(lines(path))] == [1, 1]


def test_a_letter_waits_until_whoever_works_on_the_file_is_done(sink: FileSink, path: Path, letter: Letter) -> None:
    sink.send_dead_letter(letter)
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = threading.Thread(target=sink.send_dead_letter, args=(letter,))
        writer.start()
        file.truncate(0)
        path.unlink()
    writer.join(10)

    assert len(lines(path)) == 1


def rotating(context: WorkerContext, **options: Any) -> FileSink:
    sink = FileSink(FileSink.Options(**options))
    sink.worker_started(context)
    return sink


def test_files_are_put_aside_by_size_and_none_is_deleted(context: WorkerContext, path: Path, letter: Letter) -> None:
    sink = rotating(context, max_size=1000)

    for number in range(10):
        sink.send_dead_letter(replace(letter, source_offset=number))
    sink.worker_stopping()

    files = sorted(path.parent.iterdir())
    assert len(files) > 2
    assert all(file.stat().st_size <= 1000 for file in files)
    assert sorted(line["source"]["offset"] for file in files for line in lines(file)) == list(range(10))


def test_only_whoever_says_how_many_to_keep_loses_the_oldest(
    context: WorkerContext, path: Path, letter: Letter
) -> None:
    sink = rotating(context, max_size=1, keep=2)

    for number in range(6):
        sink.send_dead_letter(replace(letter, source_offset=number))
    sink.worker_stopping()

    assert sorted(line["source"]["offset"] for file in path.parent.iterdir() for line in lines(file)) == [3, 4, 5]


def test_a_file_is_as_old_as_its_first_letter_also_after_a_restart(
    context: WorkerContext, path: Path, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age in (0.0, 50.0, 101.0):
        with monkeypatch.context() as patch:
            patch.setattr("supervisor_plugins.dlq_file.time.time", lambda age=age: 1_000_000.0 + age)
            sink = rotating(context, max_age=100.0)
            sink.send_dead_letter(letter)
            sink.worker_stopping()

    assert [len(lines(file)) for file in sorted(path.parent.iterdir())] == [2, 1]


@pytest.mark.parametrize("options", [{"keep": 3}, {"max_size": -1}])
def test_what_would_delete_letters_by_a_slip_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_size"):
        FileSink.Options(**options)


@pytest.fixture
def table(context: WorkerContext) -> Any:
    made = SqliteSink(SqliteSink.Options())
    made.worker_started(context)
    yield made
    made.worker_stopping()


def rows(context: WorkerContext, what: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(Path(context.state_dir) / "dead-letters" / "orders" / "letters.sqlite")
    found = database.execute(f"select {what} from letters order by id").fetchall()  # noqa: S608 - our own words
    database.close()
    return found


def test_the_sqlite_sink_keeps_every_byte(table: SqliteSink, context: WorkerContext, letter: Letter) -> None:
    table.send_dead_letter(letter)
    table.send_dead_letter(replace(letter, audit_id="orders/orders/1/813", key=None, value=None, timestamp=None))

    first, second = rows(context, "audit_id, topic, key, value, disposition, timestamp, slot")
    assert first == ("orders/orders/1/812", "orders.dlq", b"k", b"\x00\xff", "error", 12.5, 3)
    assert second[2:4] == (None, None)
    (headers, *source), _ = rows(context, "headers, source_topic, source_partition, source_offset")
    assert json.loads(headers) == [["trace", base64.b64encode(b"\xfe").decode()], ["empty", None]]
    assert source == ["orders", 1, 812]


def test_a_copy_is_not_kept_twice_and_another_record_of_the_same_name_is(
    table: SqliteSink, context: WorkerContext, letter: Letter
) -> None:
    for one in (letter, letter, replace(letter, timestamp=99.0)):
        table.send_dead_letter(one)

    assert rows(context, "timestamp") == [(12.5,), (99.0,)]


def test_only_the_owner_may_read_the_table(table: SqliteSink, context: WorkerContext, letter: Letter) -> None:
    umask = os.umask(0)
    try:
        table.send_dead_letter(letter)
    finally:
        os.umask(umask)

    folder = Path(context.state_dir) / "dead-letters" / "orders"
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_workers_share_the_table(context: WorkerContext, letter: Letter) -> None:
    sinks = [SqliteSink(SqliteSink.Options()) for _ in range(3)]

    def work(slot: int) -> None:
        sinks[slot].worker_started(replace(context, slot=slot))
        for number in range(10):
            sinks[slot].send_dead_letter(replace(letter, audit_id=f"orders/orders/{slot}/{number}"))
        sinks[slot].worker_stopping()

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(rows(context, "audit_id")) == 30


def test_a_table_that_cannot_be_written_is_tried_anew_with_the_next_letter(
    table: SqliteSink, context: WorkerContext, letter: Letter
) -> None:
    folder = Path(context.state_dir) / "dead-letters" / "orders"
    folder.mkdir(parents=True)
    (folder / "letters.sqlite").write_bytes(b"no database" * 100)

    with pytest.raises(sqlite3.DatabaseError):
        table.send_dead_letter(letter)
    (folder / "letters.sqlite").unlink()
    table.send_dead_letter(letter)

    assert len(rows(context, "id")) == 1


def test_the_sqlite_sink_refuses_before_it_was_started(letter: Letter) -> None:
    with pytest.raises(RuntimeError, match="before the worker had started"):
        SqliteSink(SqliteSink.Options()).send_dead_letter(letter)
