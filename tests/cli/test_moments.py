"""Moments in options: how long ago, or a date, for every command alike; what is neither is refused in words."""

import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from supervisor.cli import offsets
from supervisor.cli.main import cli
from supervisor.core.jsonable import to_json
from supervisor.core.resets import OffsetsAnswer

CONFIG = """
[kafka]
"bootstrap.servers" = "127.0.0.1:1"

[groups.orders]
topics = ["orders"]
handler = "shop:process"
"""
COMMANDS = {
    "events": ("events", "--since"),
    "list": ("dlq", "list", "orders", "--since"),
    "replay": ("dlq", "replay", "orders", "--since"),
    "reset": ("offsets", "reset", "orders", "--dry-run", "--to"),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect what the brokers would have been asked of offsets."""
    seen: list[dict[str, Any]] = []

    def inspect(_what: str, request: dict[str, Any], *, timeout: float) -> Any:
        del timeout
        seen.append(request)
        return to_json(OffsetsAnswer(()))

    monkeypatch.setattr(offsets, "inspect", inspect)
    return seen


def run(folder: Path, *arguments: str) -> Result:
    (folder / "supervisor.toml").write_text(CONFIG)
    return CliRunner().invoke(cli, ["-c", str(folder / "supervisor.toml"), *arguments])


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "9999999d",
        "999999999999d",
        f"{'9' * 400}d",
    ],
)
def test_a_time_that_no_calendar_has_is_refused_in_words(tmp_path: Path, command: tuple[str, ...], text: str) -> None:
    told = run(tmp_path, *command, text)

    assert told.exit_code == 2, told.exception
    assert "write" in told.stderr


def test_offsets_from_before_there_were_any_are_the_earliest(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    for text in ("30000d", "1969-07-20T20:17:00Z"):
        run(tmp_path, *COMMANDS["reset"], text)

    assert [one["to"] for one in asked] == ["@0", "@0"]


def test_a_date_without_a_zone_is_of_this_host(
    tmp_path: Path, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC+3")
    time.tzset()
    try:
        run(tmp_path, *COMMANDS["reset"], "2026-01-31 14:00")
    finally:
        monkeypatch.undo()
        time.tzset()

    assert [one["to"] for one in asked] == ["@1769878800000"]
