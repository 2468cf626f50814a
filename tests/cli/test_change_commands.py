"""The commands that change what runs, against a real parent over fake workers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.core.snapshot import SlotState
from tests.process.parents import Parent, pick
from tests.waiting import wait_until


def ask(parent: Parent, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--socket", str(parent.client_socket)])


def runs(parent: Parent, workers: int) -> None:
    parent.snapshot_when(
        lambda seen: [one.state for one in seen.groups[0].slots if one.joined] == [SlotState.RUNNING] * workers
    )


def test_reload_shows_what_it_does_and_a_bad_configuration_is_exit_code_78(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        runs(parent, 2)
        wanted = tmp_path / "next"
        wanted.write_text(json.dumps({"changes": {"orders": {"max_gap": 77}}}))

        dry = ask(parent, "reload", "--dry-run")
        begun = ask(parent, "reload", "--no-wait")
        wait_until(lambda: parent.events("reload.done"), 20)
        wanted.write_text(json.dumps({"changes": {"orders": {"max_gap": 78}}}))
        done = ask(parent, "reload")
        wanted.write_text(json.dumps({"problems": ["groups.orders: no module 'shop'"]}))
        refused = ask(parent, "reload")

        assert (dry.exit_code, dry.output) == (0, "orders: rolled (max_gap)\n")
        assert begun.output == "reload has begun (operation 2)\n"
        assert done.exit_code == 0
        assert [line.split(" (pid")[0] for line in done.output.splitlines()] == [
            "orders: rolled (max_gap)",
            "orders/0 runs",
            "orders/1 runs",
        ]
        assert refused.exit_code == 78
        assert "the old configuration stays: groups.orders: no module 'shop'" in refused.output


def test_scale_waits_until_slots_run_or_are_gone(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        runs(parent, 1)

        up = ask(parent, "scale", "orders=3")
        states = [slot.state for slot in parent.client.status().groups[0].slots]
        down = ask(parent, "scale", "orders=1")

        assert (up.exit_code, up.output) == (0, "scaled: orders=3\n")
        assert states == [SlotState.RUNNING] * 3
        assert down.exit_code == 0
        assert len(parent.client.status().groups[0].slots) == 1


@pytest.mark.parametrize("size", ["orders", "orders=0", "orders=-1", "=3", "orders=x"])
def test_a_size_that_is_none_is_wrong_usage(size: str) -> None:
    result = CliRunner().invoke(cli, ["scale", size])

    assert result.exit_code == 2
    assert 'write "orders=4"' in result.output


def test_a_rolling_restart_names_each_slot_and_fails_with_the_one_that_died(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        runs(parent, 2)

        done = ask(parent, "restart", "orders", "--rolling")
        parent.behave("exit 1", "orders-0")
        failed = ask(parent, "restart", "--rolling")
        wrong = ask(parent, "restart", "--no-wait")

        assert done.exit_code == 0
        assert [line.split(" (")[0] for line in done.output.splitlines()] == ["orders/0 runs", "orders/1 runs"]
        assert failed.exit_code == 1
        assert "orders/0 died: " in failed.output
        assert pick(parent.client.status(), slot=1).incarnation == 2
        assert wrong.exit_code == 2


def test_pause_and_resume_are_waited_for_and_shown(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        runs(parent, 1)

        paused = ask(parent, "pause", "orders")
        shown = ask(parent, "status")
        resumed = ask(parent, "resume", "orders")
        again = ask(parent, "resume", "orders")
        wrong = ask(parent, "resume", "orders", "--partition", "orders/3")

        assert (paused.exit_code, paused.output) == (0, "paused: orders; to go on: supervisor resume orders\n")
        assert "paused: supervisor resume orders" in " ".join(shown.output.split())
        assert "supervisor resume orders/0" not in " ".join(shown.output.split())
        assert (resumed.exit_code, resumed.output) == (0, "goes on: orders\n")
        assert again.exit_code == 1
        assert "group 'orders' is not paused" in again.output
        assert wrong.exit_code == 2
        assert "--partition needs --to" in wrong.output


def test_one_slot_is_paused_and_goes_on_and_the_table_says_how(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        runs(parent, 2)

        paused = ask(parent, "pause", "orders/1")
        shown = ask(parent, "status")
        resumed = ask(parent, "resume", "orders/1")
        again = ask(parent, "resume", "orders/1")
        unknown = ask(parent, "pause", "orders/7")
        position = ask(parent, "resume", "orders/1", "--to", "earliest")

        assert (paused.exit_code, paused.output) == (0, "paused: orders/1; to go on: supervisor resume orders/1\n")
        assert " ".join(shown.output.split()).count("paused: supervisor resume orders/1") == 1
        assert (resumed.exit_code, resumed.output) == (0, "goes on: orders/1\n")
        assert [one.exit_code for one in (again, unknown, position)] == [1, 1, 1]
        assert "slot orders/1 is not paused" in again.output
        assert "its slots are orders/0 to orders/1" in unknown.output
        assert "no group is called 'orders/1'" in position.output


def test_drain_and_dump_say_whom_they_concern(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        runs(parent, 2)

        dumped = ask(parent, "dump")
        drained = ask(parent, "drain", "orders/1")

        assert dumped.output == "asked for their stacks (supervisor events --stacks): orders/0, orders/1\n"
        assert drained.exit_code == 0
        assert drained.output.splitlines()[-1] == "drained: orders/1; to bring it back: supervisor start orders/1"
        assert pick(parent.client.status(), slot=1).state is SlotState.STOPPED
