"""``supervisor offsets reset`` while no supervisor runs: who did it is in the journal all the same."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from supervisor.cli import offsets
from supervisor.cli.main import cli
from supervisor.core.jsonable import to_json
from supervisor.core.resets import OffsetMove, OffsetsAnswer

CONFIG = """
[supervisor]
state_dir = "state"
runtime_dir = "run"

[kafka]
"bootstrap.servers" = "127.0.0.1:1"

[groups.orders]
topics = ["orders"]
handler = "shop:process"
"""
MOVES = (OffsetMove("orders", 0, 0, 10, 10, 0), OffsetMove("orders", 1, 0, 10, 10, 0))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "supervisor.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect what the brokers would have been asked; with ``refuse`` in the environment they refuse a change."""
    seen: list[dict[str, Any]] = []

    def inspect(_what: str, request: dict[str, Any], *, timeout: float) -> Any:
        del timeout
        seen.append(request)
        error = "group orders still has members" if request["apply"] and "refuse" in os.environ else ""
        return to_json(OffsetsAnswer(MOVES, error=error, changed="orders/1" if error else ""))

    monkeypatch.setattr(offsets, "inspect", inspect)
    return seen


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-c", str(config), *arguments])


def events(config: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(config, "events", "--json").output.splitlines()]


def test_who_reset_what_to_where_and_that_it_was_done(config: Path, asked: list[dict[str, Any]]) -> None:
    done = run(config, "offsets", "reset", "orders", "--to", "earliest", "--yes")

    assert done.exit_code == 0, done.output
    assert [one["apply"] for one in asked] == [False, True]
    action, reset = events(config)
    assert (action["name"], reset["name"]) == ("operator.action", "offsets.reset")
    who = {"verb": "offsets reset", "target": "orders * to earliest", "uid": os.getuid(), "pid": os.getpid()}
    assert action["fields"] == who
    assert (reset["group"], reset["text"]) == ("orders", "2 partitions set to earliest")


def test_a_reset_that_failed_is_told_with_what_was_set(
    config: Path, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("refuse", "1")

    failed = run(config, "offsets", "reset", "orders", "--to", "7", "--partition", "orders/1", "--yes")

    assert failed.exit_code == 1
    action, told = events(config)
    assert action["fields"]["target"] == "orders orders/1 to 7"
    assert (told["name"], told["fields"]["changed"]) == ("offsets.reset_failed", "orders/1")
    assert asked[-1]["apply"]


@pytest.mark.parametrize("arguments", [("show", "orders"), ("reset", "orders", "--to", "7", "--dry-run")])
def test_who_only_looks_leaves_no_journal(
    config: Path, asked: list[dict[str, Any]], arguments: tuple[str, ...]
) -> None:
    assert run(config, "offsets", *arguments).exit_code == 0

    assert len(asked) == 1
    assert not (config.parent / "state").exists()


def test_what_cannot_be_noted_is_not_done(config: Path, asked: list[dict[str, Any]]) -> None:
    (config.parent / "state").write_text("a file")

    refused = run(config, "offsets", "reset", "orders", "--to", "earliest", "--yes")

    assert refused.exit_code == 1
    assert "cannot be noted" in refused.output
    assert [one["apply"] for one in asked] == [False]
