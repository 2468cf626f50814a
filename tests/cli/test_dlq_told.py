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

from supervisor.cli.dlq import asking
from supervisor.cli.main import cli
from supervisor.core.dlq import Counts, DlqAnswer
from supervisor.core.jsonable import to_json
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


@pytest.mark.parametrize(("verb", "event"), [("replay", "dlq.replayed"), ("drop", "dlq.dropped")])
@pytest.mark.parametrize("ended", ["done", "stopped", "failed", "killed"])
def test_p7_whatever_became_of_it_is_noted(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, verb: str, event: str, ended: str
) -> None:
    answer = DlqAnswer(counts=DONE, stopped=ended == "stopped", error="no" if ended == "failed" else "")
    answers = [answer] if ended != "killed" else []
    real = asking.ask

    def ask(request: Any, **given: Any) -> DlqAnswer:
        if request.replay.dry_run:
            return DlqAnswer(counts=DONE)
        if answers:
            return answers.pop()
        monkeypatch.setattr(asking, "PROGRAM", (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
        return real(request, **given)

    for module in ("command", "changing", "requests"):
        monkeypatch.setattr(f"supervisor.cli.dlq.{module}.ask", ask)
    more = ["--yes"] if verb == "drop" else []

    result = done(folder, verb, "orders", *more)

    assert result.exit_code == (0 if ended == "done" else 1)
    (told,) = folder.events(event)
    assert told.fields["ended"] == ended
    assert ("4 " in told.text) == (ended != "killed")
    assert ("not known" in told.text) == (ended == "killed")
    assert told.fields["uid"] == os.getuid()
    assert signal.SIGKILL.name in result.stderr or ended != "killed"
