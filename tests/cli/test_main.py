import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from supervisor.cli.main import cli


def test_a_command_that_is_not_there_says_which_was_perhaps_meant() -> None:
    close, far = (CliRunner().invoke(cli, [word]) for word in ("statsu", "xyzzy"))

    assert (close.exit_code, far.exit_code) == (2, 2)
    assert "No such command 'statsu'. Did you mean 'status'?" in close.output
    assert "No such command 'xyzzy'" in far.output
    assert "Did you mean" not in far.output


def test_an_option_that_is_not_there_is_still_an_option() -> None:
    result = CliRunner().invoke(cli, ["--confg", "x", "status"])

    assert result.exit_code == 2
    assert "No such option" in result.output


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_comes_while_run_is_still_imported_does_not_end_it(number: signal.Signals) -> None:
    code = f"""
import importlib, os
from supervisor.cli.main import cli
load = importlib.import_module
importlib.import_module = lambda *name, **more: (os.kill(os.getpid(), {int(number)}), load(*name, **more))[1]
cli(["run", "--help"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert "This is what systemd starts" in done.stdout
