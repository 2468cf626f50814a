"""The demo as a user runs it, and that it can fail."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.cli.demo.files import FILES, write_project
from supervisor.config import load
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "supervisor", "demo"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def own_temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the demo a temporary folder of its own, short enough for a socket: killed, it leaves its files there."""
    with tempfile.TemporaryDirectory(prefix="demo") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.mark.timeout(100)
def test_the_demo_proves_that_nothing_is_lost_in_under_a_minute(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    proof = json.loads(done.stdout)
    assert proof["holds"]
    assert proof["lost"] == []
    assert proof["produced"] == proof["processed"] + 1
    assert proof["kill"]["resumed_at"] == proof["kill"]["committed"] >= 100
    assert proof["dead_letter"]["headers"]["supervisor.dlq.attempts"] == "3"
    assert "A is dead" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(100)
def test_ctrl_c_ends_the_demo_and_everything_it_started(tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        while "->" not in (line := demo.stdout.readline()):
            assert line, "the demo ended before its first step"
        demo.send_signal(signal.SIGINT)
        code = demo.wait(30)

    assert code == 1


@pytest.mark.timeout(100)
def test_killing_the_demo_leaves_no_process_behind(tmp_path: Path, own_temp: Path) -> None:
    with subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        while "->" not in (line := demo.stdout.readline()):
            assert line, "the demo ended before its first step"
        demo.kill()

    wait_until(lambda: not survivors(), 20.0, otherwise="processes of the demo are left")


def test_the_demo_runs_the_repositorys_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")

    config = load(write_project(tmp_path))

    assert [(tmp_path / name).read_text() == (ROOT / name).read_text() for name in FILES] == [True, True]
    assert config.kafka["bootstrap.servers"] == "127.0.0.1:1"
    assert config.groups["orders"].protocol == "consumer"
    assert config.groups["orders"].workers == 2


def survivors() -> list[str]:
    """Return the command lines of processes that carry this test's mark."""
    mark = f"SUPERVISOR_TEST_MARK={os.environ['SUPERVISOR_TEST_MARK']}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found
