"""Spools drained into sinks of all kinds, while workers write them and whatever sinks do."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Replay, Verb
from supervisor.core.spec import DeadLetterSpec, PluginSpec, PluginsSpec
from supervisor.inspector.draining import Draining
from supervisor.inspector.letter_files import identity_of
from supervisor.inspector.letter_sender import KafkaSender, Out
from supervisor.kafka.producer import ProduceError
from supervisor.plugin import Letter, WorkerContext
from supervisor_plugins.dlq_file import FileSink
from tests.plugins.conftest import Write
from tests.unit.test_jsonable import WORKER

KEEPING = """
import json
from pathlib import Path

class Sink:
    @hookimpl
    def worker_started(self, context):
        self.context = context

    @hookimpl
    def send_dead_letter(self, letter):
        folder = Path(self.context.state_dir)
        if (folder / "shut").exists() and letter.source_offset >= int((folder / "shut").read_text()):
            raise OSError("shut")
        with (folder / "sunk").open("a") as file:
            file.write(json.dumps([letter.audit_id, self.context.slot, letter.value.hex()]) + "\\n")
"""


@pytest.fixture
def state(context: WorkerContext) -> Path:
    return Path(context.state_dir)


@pytest.fixture
def path(state: Path) -> Path:
    return state / "dead-letters" / "orders" / "3.jsonl"


@pytest.fixture
def spool(context: WorkerContext) -> Any:
    made = FileSink(FileSink.Options())
    made.worker_started(context)
    yield made
    made.worker_stopping()


def request(state: Path, sink: str, **how: Any) -> DlqRequest:
    plugins = PluginsSpec((PluginSpec(sink), PluginSpec("dlq_file")), (str(state.parent / "project"),))
    letters = DeadLetterSpec(sink, "dlq_file", topic="{topic}.dlq", timeout=1.0)
    group = replace(WORKER.group, plugins=plugins, dead_letters=letters, kafka={})
    return DlqRequest(Verb.DRAIN, group, str(state), 1, replay=Replay(**how), supervisor="a")


def drained(state: Path, sink: str, stop: threading.Event | None = None, **how: Any) -> DlqAnswer:
    return Draining(request(state, sink, **how), tell=lambda _: None, stop=stop or threading.Event()).run()


def put(spool: FileSink, letter: Letter, *offsets: int) -> None:
    for offset in offsets:
        spool.send_dead_letter(replace(letter, source_offset=offset, audit_id=f"orders/orders/1/{offset}"))


def sunk(state: Path) -> list[int]:
    file = state / "sunk"
    lines = file.read_text().splitlines() if file.exists() else []
    return [int(json.loads(line)[0].rsplit("/", 1)[1]) for line in lines]


@pytest.fixture
def sink(write: Write) -> str:
    return f"{write(KEEPING)}:Sink"


def test_what_is_spooled_goes_to_the_sink_with_its_audit_ids_and_the_file_goes(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    put(spool, letter, 1, 2, 3)

    answer = drained(state, sink)

    assert (answer.counts.sent, answer.counts.files, answer.error, answer.kept) == (3, 1, "", ())
    lines = [json.loads(line) for line in (state / "sunk").read_text().splitlines()]
    assert lines == [[f"orders/orders/1/{at}", 3, "00ff"] for at in (1, 2, 3)]
    assert not path.exists()
    put(spool, letter, 4)
    assert drained(state, sink).counts.sent == 1


def test_files_of_slots_that_are_gone_and_those_put_aside_are_drained_too(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    put(spool, letter, 1)
    path.rename(path.with_name("17.jsonl"))
    spool.worker_stopping()
    put(spool, letter, 2)
    path.rename(path.with_name("3.20260131T140000-000.jsonl"))
    spool.worker_stopping()
    put(spool, letter, 3)

    assert drained(state, sink).counts.files == 3
    assert sorted(sunk(state)) == [1, 2, 3]
    assert list(path.parent.glob("*.jsonl")) == []


def test_a_sink_that_fails_keeps_the_rest_where_it_is_and_nothing_is_sent_twice(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    put(spool, letter, 1, 2, 3)
    (state / "shut").write_text("3")

    failed = drained(state, sink)
    (state / "shut").unlink()
    done = drained(state, sink)

    assert failed.counts.sent == 2
    assert failed.error.startswith("3.jsonl@")
    assert failed.error.endswith(f"{sink}: OSError")
    assert (done.counts.sent, done.error) == (1, "")
    assert sunk(state) == [1, 2, 3]


def test_a_file_that_a_worker_writes_meanwhile_loses_nothing(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    over = threading.Event()

    def write_on() -> None:
        put(spool, letter, *range(300))
        over.set()

    writer = threading.Thread(target=write_on)
    writer.start()
    while not over.is_set():
        assert drained(state, sink).error == ""
    writer.join()

    last = drained(state, sink)

    assert (last.error, path.exists()) == ("", False)
    assert sunk(state) == list(range(300))


def test_a_file_whose_first_line_comes_while_it_is_opened_is_sent_once(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir(parents=True)
    path.touch()

    def identity(first_line: bytes) -> str:
        if not first_line and not path.stat().st_size:
            put(spool, letter, 1, 2)
        return identity_of(first_line)

    monkeypatch.setattr("supervisor.inspector.letter_files.identity_of", identity)

    assert drained(state, sink).error == ""
    assert sunk(state) == [1, 2]


def test_a_file_that_its_worker_puts_aside_meanwhile_loses_nothing(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    put(spool, letter, 1, 2)
    moved = path.with_name("3.20260131T140000-000.jsonl")

    def put_aside(counts: Counts) -> None:
        if counts.sent == 2 and not moved.exists():
            put(spool, letter, 3)
            path.rename(moved)
            put(spool, letter, 4)

    Draining(request(state, sink), tell=put_aside, stop=threading.Event()).run()
    drained(state, sink)

    assert sorted(sunk(state)) == [1, 2, 3, 4]
    assert list(path.parent.glob("*.jsonl")) == []


def test_lines_that_are_no_letters_are_put_aside_and_a_torn_last_one_of_a_dead_writer_too(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"v": 1, "aud\n')
    put(spool, letter, 1)
    with path.open("ab") as file:
        file.write(b'{"v": 1, "audit')

    answer = drained(state, sink)

    assert (answer.counts.sent, answer.counts.unreadable, answer.kept) == (1, 1, ())
    assert path.with_name("3.jsonl.rejected").read_bytes() == b'{"v": 1, "aud\n{"v": 1, "audit\n'
    assert not path.exists()


def test_a_line_is_put_aside_once_however_often_its_file_is_looked_at(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    put(spool, letter, 1)
    with path.open("ab") as file:
        file.write(b"no letter\n")

    def write_on(counts: Counts) -> None:
        if counts.sent == 1 and counts.read == 1:
            put(spool, letter, 2)

    Draining(request(state, sink), tell=write_on, stop=threading.Event()).run()

    assert path.with_name("3.jsonl.rejected").read_bytes() == b"no letter\n"
    assert set(sunk(state)) == {1, 2}


def test_a_line_is_put_aside_once_however_long_the_sink_takes_nothing(
    state: Path, path: Path, spool: FileSink, letter: Letter, sink: str
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"torn\n")
    put(spool, letter, 1)
    (state / "shut").write_text("0")

    failed = [drained(state, sink) for _ in range(3)]
    (state / "shut").unlink()
    done = drained(state, sink)

    assert [answer.counts.unreadable for answer in failed] == [0, 0, 0]
    assert (done.counts.unreadable, sunk(state)) == (1, [1])
    assert path.with_name("3.jsonl.rejected").read_bytes() == b"torn\n"


def test_how_far_it_is_with_a_file_goes_with_the_file(state: Path, spool: FileSink, letter: Letter, sink: str) -> None:
    for offset in range(3):
        put(spool, letter, offset)
        drained(state, sink)

    kept = json.loads((state / "replays" / "orders" / "%2Espool.json").read_text())
    assert (kept["at"], kept["until"]) == ({}, {})


def test_told_to_stop_it_says_what_is_left(state: Path, path: Path, spool: FileSink, letter: Letter, sink: str) -> None:
    put(spool, letter, 1)
    stop = threading.Event()
    stop.set()

    answer = drained(state, sink, stop)

    assert (answer.stopped, answer.kept) == (True, (str(path),))


def test_a_sink_that_cannot_be_loaded_is_a_reason(state: Path, spool: FileSink, letter: Letter, write: Write) -> None:
    name = write("raise RuntimeError('no')")
    put(spool, letter, 1)

    assert "the sink cannot be used" in drained(state, name).error


def fake_broker(monkeypatch: pytest.MonkeyPatch, refuse: Callable[[Out], str]) -> list[Out]:
    taken: list[Out] = []

    def send_each(_self: KafkaSender, outs: list[Out]) -> list[ProduceError | None]:
        codes = [refuse(out) for out in outs]
        taken.extend(out for out, code in zip(outs, codes, strict=True) if not code)
        return [ProduceError(code, "no") if code else None for code in codes]

    monkeypatch.setattr(KafkaSender, "send_each", send_each)
    monkeypatch.setattr("supervisor.kafka.topics.DeadLetterTopics.make", lambda *_, **__: 0)
    return taken


def test_to_kafka_a_letter_goes_as_its_worker_would_have_sent_it(
    state: Path, spool: FileSink, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = fake_broker(monkeypatch, lambda _: "")
    put(spool, letter, 1)

    assert drained(state, "dlq_kafka").error == ""
    (out,) = taken
    assert (out.topic, out.partition, out.key, out.value) == ("orders.dlq", 1, b"k", b"\x00\xff")
    assert out.headers == letter.headers


def test_a_letter_that_is_too_large_goes_with_less_and_one_that_nothing_helps_is_put_aside(
    state: Path, path: Path, spool: FileSink, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(letter, headers=(("a", b"1"), ("supervisor.dlq.log-lines", b"x"), ("supervisor.dlq.topic", b"t")))

    def refuse(out: Out) -> str:
        is_long = any(name == "supervisor.dlq.log-lines" for name, _ in out.headers)
        return "MSG_SIZE_TOO_LARGE" if is_long or out.value == b"huge" else ""

    taken = fake_broker(monkeypatch, refuse)
    put(spool, long, 1)
    put(spool, replace(letter, value=b"huge"), 2)
    put(spool, letter, 3)

    answer = drained(state, "dlq_kafka")

    assert (answer.counts.sent, answer.counts.rejected, answer.error) == (2, 1, "")
    assert sorted(len(out.headers) for out in taken) == [2, 2]
    (aside,) = path.with_name("3.jsonl.rejected").read_bytes().splitlines()
    assert json.loads(aside)["source"]["offset"] == 2


def test_a_topic_that_is_not_there_keeps_everything(
    state: Path, path: Path, spool: FileSink, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_broker(monkeypatch, lambda out: "UNKNOWN_TOPIC_OR_PART" if out.about != "3.jsonl@0" else "")
    put(spool, letter, 1, 2)

    answer = drained(state, "dlq_kafka")

    assert answer.counts.sent == 1
    assert "UNKNOWN_TOPIC_OR_PART" in answer.error
    assert path.exists()
