from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.core.snapshot import Snapshot
from tests.cli.fake_supervisor import FakeSupervisor, fake_supervisor
from tests.cli.snapshots import part, running, snapshot, stats

GONE = "offset 5 is out of range, 10 to 20 are there"


def _seen(why: str) -> Snapshot:
    parts = (replace(part(3), stopped=why), part(4))
    return snapshot(replace(running(0), stats=stats(*parts)))


def _resume(fake: FakeSupervisor, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["resume", "orders", *arguments, "--socket", str(fake.socket)])


def test_resume_waits_until_the_partition_is_read_again(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, _seen(GONE), _seen(GONE), _seen(""), accepted=("orders/3",)) as fake:
        result = _resume(fake, "--partition", "orders/3", "--to", "earliest")

    assert (result.exit_code, result.output) == (0, "goes on at earliest: orders/3\n")
    assert fake.asked == [("resume", {"target": "orders", "partition": "orders/3", "to": "earliest"})]


def test_resume_to_where_there_is_nothing_fails_with_what_there_is(tmp_path: Path) -> None:
    refused = "offset 3 was asked for, 10 to 20 are there"
    with fake_supervisor(tmp_path, _seen(GONE), _seen(refused), accepted=("orders/3",)) as fake:
        result = _resume(fake, "--to", "3")

    assert result.exit_code == 1
    assert f"orders/3: {refused}" in result.output


def test_resume_says_after_its_timeout_what_is_still_stopped(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, _seen(GONE), accepted=("orders/3",)) as fake:
        result = _resume(fake, "--to", "latest", "--timeout", "100ms")

    assert result.exit_code == 1
    assert f"orders/3: {GONE}" in result.output


@pytest.mark.parametrize("to", ["-5", "end", "", "1e3"])
def test_a_position_that_is_none_is_wrong_usage(to: str) -> None:
    result = CliRunner().invoke(cli, ["resume", "orders", f"--to={to}"])

    assert result.exit_code == 2
    assert '"earliest", "latest" or an offset' in result.output


def test_status_shows_what_is_stopped_and_why(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, _seen(GONE)) as fake:
        result = CliRunner().invoke(cli, ["status", "--socket", str(fake.socket)])

    assert f"stopped: orders/3 ({GONE})" in " ".join(result.output.split())


def _paused(*, wanted: bool, is_so: bool) -> Snapshot:
    return snapshot(replace(running(0), paused=wanted, stats=replace(stats(part(3)), paused=is_so)))


@pytest.mark.parametrize("verb", ["resume", "pause"])
def test_who_waits_for_a_pause_or_its_end_hears_that_somebody_else_had_the_last_word(tmp_path: Path, verb: str) -> None:
    is_on = verb == "pause"
    before, after = _paused(wanted=is_on, is_so=not is_on), _paused(wanted=not is_on, is_so=not is_on)
    with fake_supervisor(tmp_path, before, after, accepted=("orders/0",)) as fake:
        result = CliRunner().invoke(cli, [verb, "orders", "--timeout", "1h", "--socket", str(fake.socket)])

    assert result.exit_code == 1
    said = "was resumed again meanwhile" if is_on else "was paused again meanwhile"
    assert f"orders/0 {said}" in result.stderr
    assert "supervisor events --group orders" in result.stderr
