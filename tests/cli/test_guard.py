import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from supervisor.cli.guard import rival_distributions, rival_message


def fake_distribution(folder: Path, name: str, *, top_level: str | None = None, record: str = "") -> None:
    info = folder / f"{name.replace('-', '_')}-4.2.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.2.5\n")
    (info / "RECORD").write_text(record)
    if top_level is not None:
        (info / "top_level.txt").write_text(top_level)


def rivals(folder: Path) -> list[str]:
    return rival_distributions(distributions(path=[str(folder)]))


@pytest.mark.parametrize(
    ("top_level", "record"),
    [("supervisor\n", ""), (None, "supervisor/__init__.py,sha256=x,1\nsupervisor/options.py,,\n")],
    ids=["by its top_level.txt", "by its list of files"],
)
def test_another_distribution_that_owns_our_package_is_found(
    tmp_path: Path, top_level: str | None, record: str
) -> None:
    fake_distribution(tmp_path, "supervisor", top_level=top_level, record=record)

    assert rivals(tmp_path) == ["supervisor 4.2.5"]


@pytest.mark.parametrize("name", ["kafka-supervisor", "Kafka_Supervisor"])
def test_we_are_no_rival_of_ourselves(tmp_path: Path, name: str) -> None:
    fake_distribution(tmp_path, name, record="supervisor/__init__.py,,\n")

    assert rivals(tmp_path) == []


def test_a_distribution_that_only_has_supervisor_in_a_name_is_no_rival(tmp_path: Path) -> None:
    fake_distribution(tmp_path, "my-supervisor", top_level="my_supervisor", record="my_supervisor/__init__.py,,\n")
    fake_distribution(tmp_path, "docs", record="docs/supervisor/index.md,,\nsupervisor_plugins/x.py,,\n")

    assert rivals(tmp_path) == []


def test_the_message_says_which_distribution_why_and_what_to_run() -> None:
    text = rival_message(["supervisor 4.2.5"])

    assert "supervisor 4.2.5" in text
    assert "overwritten" in text
    assert "pip uninstall supervisor kafka-supervisor && pip install kafka-supervisor" in text


def test_no_command_starts_beside_a_rival(tmp_path: Path) -> None:
    fake_distribution(tmp_path, "supervisor", top_level="supervisor")

    ended = subprocess.run(
        [sys.executable, "-m", "supervisor", "--help"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 1
    assert "supervisor 4.2.5" in ended.stderr
    assert ended.stdout == ""
