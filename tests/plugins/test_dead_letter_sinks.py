import base64
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.plugin import Letter, WorkerContext
from supervisor_plugins.dlq_file import FileSink
from supervisor_plugins.dlq_kafka import KafkaSink


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
