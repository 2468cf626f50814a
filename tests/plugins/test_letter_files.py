"""Files of dead letters: read while a worker writes, replayed, thinned out; the sink is the real one."""

import fcntl
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.inspector.letter_files import FileLetters, letter_files, locked
from supervisor.inspector.replay_progress import Progress, alone, progress_file
from supervisor.plugin import Letter, WorkerContext
from supervisor_plugins import dlq_file
from supervisor_plugins.dlq_file import FileSink


@pytest.fixture
def sink(context: WorkerContext) -> Any:
    made = FileSink(FileSink.Options())
    made.worker_started(context)
    yield made
    made.worker_stopping()


@pytest.fixture
def path(context: WorkerContext) -> Path:
    return Path(context.state_dir) / "dead-letters" / "orders" / "3.jsonl"


def write(sink: FileSink, letter: Letter, *offsets: int) -> None:
    for offset in offsets:
        sink.send_dead_letter(replace(letter, source_offset=offset, audit_id=f"orders/orders/1/{offset}"))


def opened(
    path: Path, name: str = "default", *, pending: bool = True, meaning: str = "m", one: str = ""
) -> FileLetters:
    source = FileLetters([path], progress_file(str(path.parents[2]), "orders", name))
    source.open(pending=pending, meaning=meaning, one=one)
    return source


def offsets(source: FileLetters, most: int = 100) -> list[int | None]:
    return [letter.view.offset for letter in source.read(most)]


def test_what_the_sink_wrote_is_read_until_where_it_ended_then(sink: FileSink, path: Path, letter: Letter) -> None:
    write(sink, letter, 1, 2)
    source = opened(path)
    write(sink, letter, 3)

    found = source.read(100)

    assert [one.view.offset for one in found] == [1, 2]
    assert (found[0].key, found[0].value, found[0].headers) == (letter.key, letter.value, letter.headers)
    assert (found[0].view.topic, found[0].view.disposition, source.total) == ("orders", "error", 2)
    assert source.read(100) == []


def test_a_replay_goes_on_where_it_was_whatever_the_file_is_called_now(
    sink: FileSink, path: Path, letter: Letter
) -> None:
    write(sink, letter, 1, 2, 3)
    first = opened(path)
    done = first.read(2)
    first.intend(done)
    first.done(done)
    first.close()
    moved = path.rename(path.with_name("3.20260131T140000-000.jsonl"))

    second, anew, other = opened(moved), opened(moved, pending=False), opened(moved, "other")

    assert (offsets(second), second.resumed) == ([3], True)
    assert (offsets(anew), offsets(other), other.resumed) == ([1, 2, 3], [1, 2, 3], False)


def test_what_was_intended_and_not_said_to_be_done_may_have_been_sent(
    sink: FileSink, path: Path, letter: Letter
) -> None:
    write(sink, letter, 1, 2, 3)
    killed = opened(path)
    killed.intend(killed.read(2))
    killed.close()

    source = opened(path)
    found = source.read(100)

    assert [(one.view.offset, source.is_again(one)) for one in found] == [(1, True), (2, True), (3, False)]


def test_a_replay_that_meant_something_else_is_told_apart(sink: FileSink, path: Path, letter: Letter) -> None:
    write(sink, letter, 1)
    first = opened(path, meaning="these")
    first.done(first.read(1))
    first.close()

    assert opened(path, meaning="those").other_meaning == "these"


def test_torn_and_foreign_lines_are_counted_and_an_unfinished_last_one_is_left(
    sink: FileSink, path: Path, letter: Letter
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"v": 1, "audit\nno json\n\n')
    write(sink, letter, 1)
    with path.open("ab") as file:
        file.write(b'{"v": 1, "aud')
    source = opened(path)

    assert (offsets(source), source.unreadable) == ([1], 2)


def test_one_letter_is_found_by_its_name(sink: FileSink, path: Path, letter: Letter) -> None:
    write(sink, letter, 1, 2, 3)
    second = opened(path).read(100)[1]

    assert offsets(opened(path, pending=False, one=second.id)) == [2]


def test_dropped_lines_are_gone_positions_stay_true_and_an_empty_file_is_deleted(
    sink: FileSink, path: Path, letter: Letter
) -> None:
    write(sink, letter, 1, 2, 3)
    whole = opened(path, pending=False)
    found = whole.read(100)
    half = opened(path)
    half.done(half.read(2))
    half.close()

    assert whole.delete(path.name, {found[0].position, found[1].position}) == 2

    assert b"orders/orders/1/1" not in path.read_bytes()
    assert offsets(opened(path, pending=False)) == [3]
    assert offsets(opened(path)) == [3], "the replay stands where it stood"
    write(sink, letter, 4)
    assert offsets(opened(path)) == [3, 4]
    rest = opened(path, pending=False)
    rest.delete(path.name, {one.position for one in rest.read(100)})
    assert not path.exists()
    write(sink, letter, 5)
    assert offsets(opened(path)) == [5], "a new file is none that the replay knows"


def test_a_file_that_was_put_aside_since_it_was_read_loses_nothing(sink: FileSink, path: Path, letter: Letter) -> None:
    write(sink, letter, 1)
    source = opened(path)
    (found,) = source.read(100)
    path.rename(path.with_name("3.20260131T140000-000.jsonl"))
    sink.worker_stopping()
    write(sink, letter, 2)

    assert source.delete(path.name, {found.position}) == 0
    assert offsets(opened(path)) == [2]


def test_files_that_are_put_aside_between_a_look_at_them_and_their_turn_are_read_all_the_same(
    sink: FileSink, path: Path, letter: Letter
) -> None:
    write(sink, letter, 1, 2)
    source = opened(path)
    aside = path.rename(path.with_name("3.20260131T140000-000.jsonl"))
    sink.worker_stopping()
    write(sink, letter, 3, 4, 5)

    found = source.read(100)
    source.done(found)
    source.close()

    assert [one.view.offset for one in found] == [1, 2]
    assert offsets(opened(aside)) == []
    assert offsets(opened(path)) == [3, 4, 5], "what was passed of the one says nothing of the other"


def test_a_file_that_was_deleted_before_its_turn_holds_nothing(sink: FileSink, path: Path, letter: Letter) -> None:
    write(sink, letter, 1, 2)
    source = opened(path)
    path.unlink()

    assert source.read(100) == []


@pytest.mark.parametrize(
    "change",
    [
        {"written_at": float("inf"), "timestamp": float("nan")},
        {"source": {"topic": "orders", "partition": -3, "offset": 10**40}},
        {"source": {"topic": "orders", "partition": 2**40, "offset": -1}, "written_at": 1e300},
    ],
)
def test_numbers_that_can_be_none_hide_no_letter_and_are_not_there(path: Path, change: dict[str, Any]) -> None:
    line = {"v": 1, "audit_id": "a", "topic": "orders.dlq", "key": None, "value": None, "headers": []}
    known = {"source": {"topic": "orders", "partition": 1, "offset": 2}, "disposition": "error", "written_at": 5.0}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(line | known | change) + "\n" + "[" * 100_000 + "\n")
    source = opened(path)

    (found,) = source.read(10)

    assert found.view.topic == "orders"
    told = (found.written_at, found.view.timestamp, found.view.partition, found.view.offset)
    assert told in ((None, None, 1, 2), (5.0, None, None, None), (None, None, None, None))
    assert source.unreadable == 1


def test_a_writer_waits_for_who_holds_its_file_and_makes_another_when_that_was_deleted(
    sink: FileSink, path: Path, letter: Letter
) -> None:
    write(sink, letter, 1)
    writer = threading.Thread(target=write, args=(sink, letter, 2))

    with locked(path):
        writer.start()
        path.unlink()
    writer.join(20)

    assert [json.loads(line)["source"]["offset"] for line in path.read_bytes().splitlines()] == [2]


def test_p8_a_writer_whose_file_is_held_for_too_long_fails_and_tries_again(
    sink: FileSink, path: Path, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlq_file, "LOCK_PATIENCE", 0.05)
    write(sink, letter, 1)

    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="holds it"):
            write(sink, letter, 2)
    write(sink, letter, 3)

    assert offsets(opened(path)) == [1, 3]


def test_a_groups_files_are_found_rotated_ones_first(sink: FileSink, path: Path, letter: Letter) -> None:
    write(sink, letter, 1)
    path.rename(path.with_name("3.20260131T140000-000.jsonl"))
    sink.worker_stopping()
    write(sink, letter, 2)
    path.with_name(".3.jsonl.new").touch()
    path.with_name("3.jsonl.rejected").touch()

    found = letter_files(path.parent)

    assert [one.name for one in found] == ["3.20260131T140000-000.jsonl", "3.jsonl"]
    assert letter_files(path.parents[1] / "nobody") == []


def test_only_one_process_runs_a_replay(tmp_path: Path) -> None:
    lock = tmp_path / "replays" / "x.lock"

    with alone(lock) as first, alone(lock) as second:
        assert (first, second) == (True, False)
    with alone(lock) as third:
        assert third


def test_progress_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"at": []}')

    assert not Progress(file).load()
    assert not Progress(tmp_path / "y.json").load()
