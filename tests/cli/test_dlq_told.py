"""What ``dlq`` commands say and note of what they did, so that what people do next is right."""

import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.dlq import asking, audit
from supervisor.cli.main import cli
from supervisor.core.dlq import Counts, DlqAnswer
from supervisor.core.events import Event
from supervisor.core.jsonable import to_json
from supervisor.parent.store import journal_file
from supervisor_plugins.dlq_sqlite import TABLE
from tests.kafka.letters import Folder

DONE = Counts(total=9, read=9, sent=4, dropped=4)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    nobody: Any = SimpleNamespace(bootstrap="127.0.0.1:1")
    return Folder(tmp_path, nobody, "orders", more='dead_letters.sink = "dlq_file"')


def answering(monkeypatch: pytest.MonkeyPatch, answer: DlqAnswer) -> None:
    """Have a child answer so at once, whatever it is asked."""
    frame = {"type": "end", "answer": to_json(answer)}
    said = f"import json, sys; sys.stdin.read(); print(json.dumps({frame!r}))"
    monkeypatch.setattr(asking, "PROGRAM", (sys.executable, "-c", said))


def done(folder: Folder, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-c", str(folder.folder / "supervisor.toml"), "dlq", *arguments])


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--name", "night")])
def test_p1_a_replay_takes_no_time_that_means_another_moment_when_the_same_command_goes_on(
    folder: Folder, option: str, more: tuple[str, ...]
) -> None:
    told = done(folder, "replay", "orders", option, "2h", *more)

    assert told.exit_code == 2
    assert "'2h' is another moment each time" in told.stderr
    (moment,) = [part for part in told.stderr.split('"') if part[:2] == "20"]
    assert done(folder, "replay", "orders", option, moment, *more).exit_code == 0


def test_only_a_replay_must_be_told_a_fixed_moment(folder: Folder) -> None:
    for verb in ("list", "stats", "export", "drop"):
        assert done(folder, verb, "orders", "--since", "2h").exit_code == 0


def test_what_kind_a_file_is_says_what_is_in_it_and_kinds_are_not_mixed(folder: Folder) -> None:
    tables, lines = folder.folder / "letters.sqlite.bak", folder.folder / "letters.jsonl"
    with closing(sqlite3.connect(tables)) as database:
        database.execute(TABLE)
    lines.write_text("")

    table = done(folder, "list", "orders", "--file", str(tables))
    mixed = done(folder, "replay", "orders", "--file", str(lines), "--file", str(tables))

    assert (table.exit_code, table.stderr) == (0, "")
    assert mixed.exit_code == 2
    assert "give one kind at a time" in mixed.stderr


def test_that_the_same_command_goes_on_is_said_of_what_began(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, DlqAnswer(error="replay 'x' was begun with another filter"))
    refused = done(folder, "replay", "orders")
    answering(monkeypatch, DlqAnswer(counts=DONE, error="the brokers are away"))
    broken = done(folder, "replay", "orders")

    assert "another filter" in refused.stderr
    assert "goes on" not in refused.stderr
    assert "sent" not in refused.stdout
    assert "the same command goes on" in broken.stderr
    assert "4 sent" in broken.stdout


def test_what_letters_without_an_origin_need_is_said(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, DlqAnswer(counts=Counts(total=4, read=4, homeless=4)))
    told = done(folder, "replay", "orders")

    assert told.exit_code == 0
    assert "4 without an origin" in told.stdout
    assert "--to TOPIC" in told.stderr


EVENTS = {"replay": "dlq.replayed", "drop": "dlq.dropped", "drain": "dlq.drained"}
KILLED = "import os; os.kill(os.getpid(), 9)"


@pytest.fixture
def spooled(tmp_path: Path) -> Folder:
    nobody: Any = SimpleNamespace(bootstrap="127.0.0.1:1")
    return Folder(tmp_path, nobody, "orders", more='dead_letters = {sink = "dlq_sqlite", fallback = "dlq_file"}')


def order(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, verb: str, answer: DlqAnswer | None, *, child: str = KILLED
) -> Result:
    """Return what a command does whose child answers so, or, where there is none, is ``child``."""
    real = asking.ask

    def ask(request: Any, **given: Any) -> DlqAnswer:
        if request.replay.dry_run:
            return DlqAnswer(counts=DONE)
        if answer is not None:
            return answer
        monkeypatch.setattr(asking, "PROGRAM", (sys.executable, "-c", child))
        return real(request, **given)

    for module in ("audit", "command", "requests"):
        monkeypatch.setattr(f"supervisor.cli.dlq.{module}.ask", ask)
    return done(folder, verb, "orders", *(["--yes"] if verb == "drop" else []))


@pytest.mark.parametrize("verb", EVENTS)
@pytest.mark.parametrize("ended", ["done", "stopped", "failed", "killed"])
def test_p7_whatever_became_of_it_is_noted(
    spooled: Folder, monkeypatch: pytest.MonkeyPatch, verb: str, ended: str
) -> None:
    answer = DlqAnswer(counts=DONE, stopped=ended == "stopped", error="no brokers" if ended == "failed" else "")

    result = order(spooled, monkeypatch, verb, None if ended == "killed" else answer)

    assert result.exit_code == (0 if ended == "done" else 1)
    assert ("told to stop" in result.stderr) == (ended == "stopped")
    (told,) = spooled.events(EVENTS[verb])
    assert told.fields["ended"] == ended
    assert ("4 " in told.text) == (ended != "killed")
    assert ("not known" in told.text) == (ended == "killed")
    assert ("no brokers" in told.text) == (ended == "failed")
    assert told.fields["uid"] == os.getuid()
    assert signal.SIGKILL.name in result.stderr or ended != "killed"


@pytest.mark.parametrize("verb", EVENTS)
def test_p7_a_child_that_falls_silent_is_noted_too(spooled: Folder, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(asking, "SILENCE", 0.2)

    result = order(spooled, monkeypatch, verb, None, child="import time; time.sleep(600)")

    assert result.exit_code == 1
    (told,) = spooled.events(EVENTS[verb])
    assert told.fields["ended"] == "killed"


def test_p7_p10_what_nobody_thought_of_is_noted_by_its_class(spooled: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object, **__: object) -> DlqAnswer:
        raise ValueError("what a record held")

    monkeypatch.setattr(audit, "ask", ask)

    result = done(spooled, "replay", "orders")

    assert isinstance(result.exception, ValueError)
    (told,) = spooled.events("dlq.replayed")
    assert told.fields["ended"] == "killed"
    assert told.text.endswith("; ValueError")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a disk that is full once something was done."""
    real = journal_file.append

    def append(file: Path, event: Event) -> None:
        if event.name in EVENTS.values():
            raise sqlite3.OperationalError("database or disk is full")
        real(file, event)

    monkeypatch.setattr(audit, "append", append)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("verb", EVENTS)
def test_what_was_done_is_shown_though_it_cannot_be_noted(
    spooled: Folder, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    result = order(spooled, monkeypatch, verb, DlqAnswer(counts=DONE))

    assert result.exit_code == 1
    assert "4 " in result.stdout
    assert "disk is full" in result.stderr


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("verb", EVENTS)
@pytest.mark.parametrize("reason", ["SIGKILL", "no brokers"])
def test_why_it_failed_is_said_last_though_that_cannot_be_noted(
    spooled: Folder, monkeypatch: pytest.MonkeyPatch, verb: str, reason: str
) -> None:
    answer = DlqAnswer(counts=DONE, error=reason)

    result = order(spooled, monkeypatch, verb, None if reason == "SIGKILL" else answer)

    assert result.exit_code == 1
    unnoted, failed = result.stderr.index("disk is full"), result.stderr.index(reason)
    assert unnoted < failed
