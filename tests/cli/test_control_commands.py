import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.core.jsonable import from_json
from supervisor.core.snapshot import SlotState, Snapshot
from tests.cli.fake_supervisor import FakeSupervisor, fake_supervisor
from tests.cli.snapshots import down, running, snapshot


def supervisor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def ask(fake: FakeSupervisor, command: str, *arguments: str) -> Result:
    return supervisor(command, *arguments, "--socket", fake.socket)


def test_status_prints_the_table(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, snapshot(running(0))) as fake:
        result = ask(fake, "status")

    assert result.exit_code == 0
    assert "supervisor web-1 (version 0.1.0), pid 4000, up 1m1s" in result.output
    assert "GROUP" in result.output
    assert "orders:0,4,8" in result.output


def test_status_as_json_is_the_whole_snapshot(tmp_path: Path) -> None:
    seen = snapshot(running(0), down(1, SlotState.FATAL, "gave up"))

    with fake_supervisor(tmp_path, seen) as fake:
        result = ask(fake, "status", "--json")

    assert from_json(Snapshot, json.loads(result.output)) == seen


def test_status_with_nothing_running_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    result = supervisor("status", "--socket", tmp_path / "control.sock")

    assert result.exit_code == 3
    assert len(result.output.splitlines()) == 1
    assert "no supervisor is running" in result.output
    assert "--socket PATH" in result.output


def test_not_being_allowed_is_one_line_and_exit_code_4(tmp_path: Path) -> None:
    no = (403, {"error": "only uid 999 and root may ask"})

    with fake_supervisor(tmp_path, snapshot(), refusal=no) as fake:
        result = ask(fake, "status")

    assert result.exit_code == 4
    assert result.output == "only uid 999 and root may ask\n"


def test_an_unknown_target_is_refused_with_what_there_is(tmp_path: Path) -> None:
    no = (404, {"error": "no group is called 'order'", "help": "did you mean 'orders'?"})

    with fake_supervisor(tmp_path, snapshot(running(0)), no_action=no) as fake:
        result = ask(fake, "restart", "order")

    assert result.exit_code == 1
    assert result.output == "no group is called 'order'\n  help: did you mean 'orders'?\n"


def test_restart_waits_for_the_next_incarnation(tmp_path: Path) -> None:
    before, new = running(0, incarnation=1), running(0, incarnation=2, pid=4712)
    story = [snapshot(before), snapshot(before), snapshot(down(0, SlotState.STARTING, incarnation=2)), snapshot(new)]

    with fake_supervisor(tmp_path, *story, accepted=("orders/0",)) as fake:
        result = ask(fake, "restart", "orders")
        left = len(fake.snapshots)

    assert (result.exit_code, result.output) == (0, "restarted: orders/0 (pid 4712)\n")
    assert fake.asked == [("restart", {"target": "orders"})]
    assert left == 1


def test_start_fails_when_the_slot_is_given_up_again(tmp_path: Path) -> None:
    old, new = (down(0, SlotState.FATAL, "no module named shop", incarnation=n) for n in (5, 6))

    with fake_supervisor(tmp_path, snapshot(old), snapshot(old), snapshot(new), accepted=("orders/0",)) as fake:
        result = ask(fake, "start", "orders/0")

    assert (result.exit_code, result.output) == (1, "orders/0 fatal: no module named shop\n")


def test_stop_of_a_slot_says_after_the_timeout_what_it_still_waits_for(tmp_path: Path) -> None:
    draining = replace(running(0), state=SlotState.DRAINING, reason="1 record in flight")

    with fake_supervisor(tmp_path, snapshot(draining), accepted=("orders/0",)) as fake:
        result = ask(fake, "stop", "orders/0", "--timeout", "200ms")

    assert result.exit_code == 1
    assert "not done after 200ms" in result.output
    assert "orders/0 draining: 1 record in flight" in result.output
    assert fake.asked == [("stop", {"target": "orders/0", "end": "leave"})]


def test_stop_keep_asks_for_keep(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, snapshot(down(0, SlotState.STOPPED)), accepted=("orders/0",)) as fake:
        result = ask(fake, "stop", "orders", "--keep")

    assert result.exit_code == 0
    assert fake.asked == [("stop", {"target": "orders", "end": "keep"})]


def test_stop_without_a_target_waits_until_the_process_is_gone(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, snapshot(running(0), pid=os.getpid())) as fake:
        result = ask(fake, "stop", "--timeout", "300ms")

    assert result.exit_code == 1
    assert f"pid {os.getpid()} still drains" in result.output


def test_hold_says_how_to_undo_it(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, snapshot(running(0)), accepted=("orders/0",)) as fake:
        result = ask(fake, "hold", "orders/0")

    assert result.exit_code == 0
    assert "supervisor start orders/0" in result.output
    assert fake.asked == [("hold", {"target": "orders/0"})]


@pytest.mark.parametrize("timeout", ["5", "soon", "-1s"])
def test_a_timeout_that_is_no_duration_is_wrong_usage(timeout: str) -> None:
    result = supervisor("stop", "--timeout", timeout)

    assert result.exit_code == 2
    assert "is not a duration" in result.output


def test_the_socket_is_found_through_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text(
        f"""
[supervisor]
runtime_dir = "{tmp_path}"
[kafka]
"bootstrap.servers" = "127.0.0.1:9092"
[groups.orders]
topics = ["orders"]
handler = "handlers:process"
"""
    )

    with fake_supervisor(tmp_path, snapshot(running(0))):
        result = supervisor("-c", tmp_path / "supervisor.toml", "status")

    assert result.exit_code == 0


def test_a_running_supervisor_is_found_without_its_secrets_and_while_the_file_is_edited(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text(
        f"""
[supervisor]
runtime_dir = "{tmp_path}"
[kafka]
"sasl.password" = "${{NOBODY_HAS_THIS}}"
[groups.orders]
ordering = "keys"
"""
    )

    with fake_supervisor(tmp_path, snapshot(running(0))):
        result = supervisor("-c", tmp_path / "supervisor.toml", "status")

    assert result.exit_code == 0, result.output


def test_run_tells_a_wrong_configuration_with_exit_code_78(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text("[groups.orders]\nordering = 'keys'\n")

    result = supervisor("-c", tmp_path / "supervisor.toml", "run")

    assert result.exit_code == 78
    assert "did you mean" in result.output


def test_status_tells_a_wrong_place_of_the_socket_with_exit_code_78(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text("[supervisor]\nruntimedir = '/run/x'\n")

    result = supervisor("-c", tmp_path / "supervisor.toml", "status")

    assert result.exit_code == 78
    assert "runtime_dir" in result.output


def test_watch_goes_on_until_the_supervisor_is_gone(tmp_path: Path) -> None:
    with fake_supervisor(tmp_path, snapshot(running(0)), snapshot(running(0, pid=4712)), gone_after=2) as fake:
        result = ask(fake, "status", "--watch", "--json")

    pids = [json.loads(line)["groups"][0]["slots"][0]["pid"] for line in result.output.splitlines()[:2]]
    assert pids == [4711, 4712]
    assert result.exit_code == 4


def test_status_loads_neither_kafka_nor_the_server() -> None:
    loaded = "import sys, supervisor.cli.status; print([m for m in ('confluent_kafka', 'aiohttp') if m in sys.modules])"

    ended = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=30, check=True)

    assert ended.stdout == "[]\n"
