import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.control.answers import AlertsAnswer, FiringAlert
from supervisor.core.alert_flow import Silence
from supervisor.core.events import Severity
from supervisor.core.jsonable import to_json
from tests.cli.fake_supervisor import FakeSupervisor, fake_supervisor
from tests.cli.snapshots import snapshot

LAG = FiringAlert("lag", Severity.WARNING, "orders", None, "5000 records behind", since=time.time() - 90)
DOWN = FiringAlert("worker_down", Severity.CRITICAL, "orders", 2, "fatal: SIGSEGV", since=time.time() - 5)
SILENCE = Silence(3, "worker.*", until=time.time() + 3600, group="orders", slot=1, reason="known", by="uid 0")


def ask(fake: FakeSupervisor, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [command, *arguments, "--socket", str(fake.socket)])


def answering(tmp_path: Path, answer: object) -> Any:
    return fake_supervisor(tmp_path, snapshot(), answers={"alerts": to_json(answer), "silence": to_json(answer)})


def test_alerts_shows_the_most_urgent_first_and_what_is_silenced(tmp_path: Path) -> None:
    with answering(tmp_path, AlertsAnswer((LAG, DOWN), (SILENCE,))) as fake:
        result = ask(fake, "alerts")

    lines = result.output.splitlines()
    assert result.exit_code == 1, "something critical lasts"
    first = lines[1].split()
    assert first[:3] + first[4:] == ["critical", "worker_down", "orders/2", "fatal:", "SIGSEGV"]
    assert lines[2].split()[:3] == ["warning", "lag", "orders"]
    assert lines[3].startswith("silence 3: worker.* of orders/1, until ")
    assert lines[3].endswith("by uid 0 (known)")


def test_alerts_without_any_is_one_line(tmp_path: Path) -> None:
    with answering(tmp_path, AlertsAnswer()) as fake:
        result = ask(fake, "alerts")

    assert (result.exit_code, result.output) == (0, "no condition lasts\n")


def test_alerts_as_json(tmp_path: Path) -> None:
    with answering(tmp_path, AlertsAnswer((LAG,))) as fake:
        result = ask(fake, "alerts", "--json")

    assert result.exit_code == 0
    assert json.loads(result.output)["firing"][0]["name"] == "lag"


def test_silence_says_what_was_asked_for(tmp_path: Path) -> None:
    with answering(tmp_path, SILENCE) as fake:
        result = ask(
            fake, "silence", "worker.*", "--group", "orders", "--slot", "1", "--for", "2h", "--reason", "known"
        )

    assert result.exit_code == 0, result.output
    assert result.output.startswith("silence 3: worker.* of orders/1, until ")
    asked = {"name": "worker.*", "seconds": 7200.0, "group": "orders", "slot": 1, "reason": "known"}
    assert fake.asked == [("silence", asked)]


@pytest.mark.parametrize("arguments", [(), ("x", "--end", "3")])
def test_silence_wants_a_name_or_a_number(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with answering(tmp_path, SILENCE) as fake:
        result = ask(fake, "silence", *arguments)

    assert result.exit_code == 2
    assert "write what to silence" in result.output
