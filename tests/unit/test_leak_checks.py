"""The checks of ``conftest.py`` themselves: a test that leaves something behind fails, and says what."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CHILD = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
BODIES = {
    "child": f"KEPT.append({CHILD})",
    "zombie": "KEPT.append(subprocess.Popen(['true']))",
    "orphan": f'subprocess.run([sys.executable, "-c", "import subprocess, sys; {CHILD}"])',
    "thread": "threading.Thread(target=time.sleep, args=(5,), daemon=True).start()",
    "descriptor": "os.pipe()",
    "tidy": "subprocess.run(['true']); os.close(os.open('.', 0))",
    "stated": "os.pipe()",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run one test per body under the project's settings and checks; return what pytest says."""
    folder = tmp_path_factory.mktemp("leaks")
    tests = [f"def test_{name}():\n    {body}\n" for name, body in BODIES.items()]
    tests[-1] = "@pytest.mark.leaks('to prove a point')\n" + tests[-1]
    test = folder / "test_leaks.py"
    test.write_text("\n".join(["import os, subprocess, sys, threading, time, pytest", "KEPT = []", *tests]))
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", ".", "-p", "tests.conftest"]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "-W", "ignore", "--patience", "0.3", str(test)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("child", "process"),
        ("zombie", "process"),
        ("orphan", "process"),
        ("thread", "thread"),
        ("descriptor", "descriptor"),
    ],
)
def test_what_is_left_behind_fails_the_test_and_is_named(report: str, name: str, word: str) -> None:
    assert re.search(rf"ERROR at teardown of test_{name} _+\nleft behind:\n  {word} ", report), report


@pytest.mark.parametrize("name", ["tidy", "stated"])
def test_a_test_that_tidies_up_or_says_why_not_passes(report: str, name: str) -> None:
    assert f"test_{name}" not in report
    assert "7 passed, 5 errors" in report
