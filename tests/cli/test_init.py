import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.config import load
from tests.broker.real import RealBroker
from tests.broker.records import create_topic


def init(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["init", str(folder), *options])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_init_writes_a_project_named_after_its_folder(tmp_path: Path) -> None:
    result = init(tmp_path / "shop")

    assert result.exit_code == 0
    assert files(tmp_path / "shop") == {
        "README.md",
        "handlers.py",
        "plugins/policy.py",
        "pytest.ini",
        "shop.service",
        "supervisor.toml",
        "tests/test_handlers.py",
    }
    assert "/opt/shop/venv/bin/supervisor" in (tmp_path / "shop" / "shop.service").read_text()


def test_the_project_reads_what_was_asked_for(tmp_path: Path) -> None:
    init(tmp_path / "shop", "--group", "bill.ing", "--topic", "invoices", "--bootstrap-servers", "a:1,b:2")

    config = load(tmp_path / "shop" / "supervisor.toml")

    assert config.enabled == ("bill.ing",)
    assert config.groups["bill.ing"].topics == ("invoices",)
    assert config.kafka["bootstrap.servers"] == "a:1,b:2"


def test_no_mark_of_the_templates_is_left(tmp_path: Path) -> None:
    init(tmp_path / "shop")

    for name in files(tmp_path / "shop"):
        assert "@GROUP" not in (tmp_path / "shop" / name).read_text()
        assert "@PROJECT" not in (tmp_path / "shop" / name).read_text()
        assert "@TOPIC" not in (tmp_path / "shop" / name).read_text()


def test_nothing_is_written_when_one_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text("mine")

    result = init(tmp_path)

    assert result.exit_code in {1, 2}
    assert files(tmp_path) == {"handlers.py"}
    assert (tmp_path / "handlers.py").read_text() == "mine"


def test_a_second_init_refuses(tmp_path: Path) -> None:
    init(tmp_path / "shop")

    result = init(tmp_path / "shop")

    assert result.exit_code == 1
    assert "already there, nothing was written" in result.output


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("9lives", ()),
        ("shop;rm", ()),
        ("shop", ("--group", "a b")),
        ("shop", ("--group", '"]')),
        ("shop", ("--topic", "..")),
        ("shop", ("--topic", "x" * 250)),
        ("shop", ("--bootstrap-servers", "kafka")),
        ("shop", ("--bootstrap-servers", 'a:1"')),
    ],
)
def test_names_that_would_not_work_are_wrong_usage(tmp_path: Path, folder: str, options: tuple[str, ...]) -> None:
    result = init(tmp_path / folder, *options)

    assert result.exit_code == 2
    assert files(tmp_path) == set()


def test_the_projects_own_test_passes(tmp_path: Path) -> None:
    init(tmp_path / "shop")

    run(tmp_path / "shop", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_the_project_passes_check(tmp_path: Path, broker: RealBroker, name: str) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic, partitions=2)
    init(tmp_path / "shop", "--group", name, "--topic", name, "--bootstrap-servers", broker.bootstrap)

    shown = run(tmp_path / "shop", sys.executable, "-m", "supervisor", "check")

    assert "error" not in shown
    assert "warning" not in shown


def run(folder: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
