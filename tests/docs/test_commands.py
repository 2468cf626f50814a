"""Commands, options and exit codes are documented; what README and docs/commands.md show is run as a user would."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from supervisor.cli.main import COMMANDS, cli
from supervisor.core.exits import ExitCode
from tests.broker.real import RealBroker
from tests.broker.records import create_topic
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
COMMANDS_DOC = ROOT / "docs" / "commands.md"
EXIT_CODES_DOC = ROOT / "docs" / "exit-codes.md"
WRITTEN_FOR = "127.0.0.1:9092"

NOT_RUN = {
    "make demo": "tests/cli/test_demo.py runs the demo, this very command needs the network for its first set-up",
    "make test": "this is what runs this test",
    "pip install kafka-supervisor pytest": "tests/packaging installs the wheel, without the network",
    "supervisor demo --json": "tests/cli/test_demo.py runs it",
}


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, click.Command]]:
    context = click.Context(cli)
    found = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands.values()]
    return found


def section(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", COMMANDS_DOC.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section {name!r}"
    return found[1]


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: getattr(value, "name", value))
def test_every_option_of_every_command_is_documented(name: str, command: click.Command) -> None:
    text = section(name)

    for parameter in command.params:
        shown = [parameter.metavar.strip("[]")] if isinstance(parameter, click.Argument) and parameter.metavar else []
        shown = shown or [parameter.human_readable_name.upper().strip("[]")]
        for spelling in shown if isinstance(parameter, click.Argument) else parameter.opts:
            assert spelling in text, f"docs/commands.md, section {name}: {spelling} is missing"


def test_no_option_is_documented_that_is_not_there() -> None:
    known = {opt for _, command in [("", cli), *commands()] for parameter in command.params for opt in parameter.opts}

    assert set(re.findall(r"`(--?[a-z][a-z-]*)", COMMANDS_DOC.read_text())) - known <= {"-h", "--help"}


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: getattr(value, "name", value))
def test_every_help_says_its_exit_codes(name: str, command: click.Command) -> None:
    text = command.help or ""

    assert isinstance(command, click.Group) or "Exit codes:" in text


@pytest.mark.parametrize("code", ExitCode, ids=lambda code: code.name)
def test_every_exit_code_is_documented_with_its_name(code: ExitCode) -> None:
    assert re.search(rf"^\| {int(code)} \| `{code.name}` \|", EXIT_CODES_DOC.read_text(), re.MULTILINE)


def test_no_exit_code_is_documented_that_is_not_there() -> None:
    listed = re.findall(r"^\| (\d+) \| `(\w+)` \|", EXIT_CODES_DOC.read_text(), re.MULTILINE)

    assert [(int(number), name) for number, name in listed] == [(int(code), code.name) for code in ExitCode]


@pytest.mark.parametrize("document", [README, COMMANDS_DOC, EXIT_CODES_DOC], ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("document", [README, COMMANDS_DOC], ids=lambda path: path.name)
def test_every_command_shown_works(document: Path, tmp_path: Path, broker: RealBroker) -> None:
    for topic in ("orders", "orders.dlq"):
        make_topic(broker, topic)
    lines = [line for block in blocks(document, "shell") for line in block.splitlines()]

    with user(tmp_path, broker) as shell:
        for line in lines:
            if line not in NOT_RUN:
                shell.type(line)

    assert set(NOT_RUN) & set(lines)
    assert shell.ran > 5


class Shell:
    """A person at a terminal; ``supervisor run`` goes to a second one."""

    def __init__(self, folder: Path, broker: RealBroker) -> None:
        self.folder = folder
        self.broker = broker
        self.ran = 0
        self.running: subprocess.Popen[bytes] | None = None
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "RUNTIME_DIRECTORY": str(folder / "run"),
        }
        self.environment.pop("PYTEST_ADDOPTS", None)

    def type(self, line: str) -> None:
        words = shlex.split(line.replace(WRITTEN_FOR, self.broker.bootstrap))
        self.ran += 1
        if words[0] == "cd":
            self.folder /= words[1]
            return
        if words[0] == "supervisor":
            words[:1] = [sys.executable, "-m", "supervisor"]
        if words[-1] == "run":
            self._start(words)
            return
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}\n{self._log()}"

    def _start(self, words: list[str]) -> None:
        with (self.folder / "run.log").open("wb") as log:
            self.running = subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        status = [sys.executable, "-m", "supervisor", "status", "--json"]

        def is_up() -> bool:
            seen = subprocess.run(status, cwd=self.folder, env=self.environment, capture_output=True, check=False)
            return b'"running"' in seen.stdout

        wait_until(is_up, 30.0, otherwise=f"supervisor run did not come up\n{self._log()}", every=0.2)

    def _log(self) -> str:
        log = self.folder / "run.log"
        return log.read_text() if log.exists() else ""


@contextmanager
def user(folder: Path, broker: RealBroker) -> Iterator[Shell]:
    shell = Shell(folder, broker)
    try:
        yield shell
        assert shell.running is not None
        assert shell.running.wait(30) == 0
    finally:
        if shell.running is not None and shell.running.poll() is None:
            shell.running.terminate()
            shell.running.wait(30)


def make_topic(broker: RealBroker, name: str) -> None:
    try:
        create_topic(broker.bootstrap, name, partitions=2)
    except Exception as error:
        if "TOPIC_ALREADY_EXISTS" not in str(error):
            raise
