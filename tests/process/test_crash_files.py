"""A slot's crash file between a worker that dies and the parent that reads what it left."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.core.crashfile import HEAD, MOST_STACK, crash_path
from supervisor.parent.deaths.crash import remove_crash_file, take_evidence, take_stacks

DYING = """
import logging, os, signal, sys
from pathlib import Path
from supervisor.worker.crash import CrashFile
crash = CrashFile(Path(sys.argv[1]))
crash.keep_lines()
for number in range(60):
    logging.getLogger("shop").warning("line.%d", number)
def stand_here(number):
    os.kill(os.getpid(), number)
for number in sys.argv[2:]:
    stand_here(int(number))
"""


def die(slot_file: Path, *signals: signal.Signals) -> int:
    numbers = [str(int(number)) for number in signals]
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(slot_file), *numbers], check=False, capture_output=True, timeout=60
    )
    return done.returncode


@pytest.fixture
def slot_file(tmp_path: Path) -> Path:
    return tmp_path / "orders.0.slot"


def test_the_last_fifty_lines_outlive_sigkill(slot_file: Path) -> None:
    assert die(slot_file, signal.SIGKILL) == -signal.SIGKILL

    found = take_evidence(slot_file)

    assert [line.rpartition(" ")[2] for line in found["log"].splitlines()] == [f"line.{n}" for n in range(10, 60)]
    assert "stack" not in found


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE])
def test_a_fatal_signal_leaves_the_stack(slot_file: Path, number: signal.Signals) -> None:
    assert die(slot_file, number) == -number

    assert "in stand_here" in take_evidence(slot_file)["stack"]


def test_dumps_on_request_stand_before_the_stack_of_the_end_and_are_taken_once(slot_file: Path) -> None:
    die(slot_file, signal.SIGUSR1, signal.SIGABRT)

    stack = take_evidence(slot_file)["stack"]

    assert stack.count("in stand_here") == 2
    assert stack.index("in stand_here") < stack.index("Fatal Python error: Aborted")
    assert take_evidence(slot_file) == {}


def test_a_dump_of_a_worker_that_lives_on_is_taken_without_its_lines(slot_file: Path) -> None:
    die(slot_file, signal.SIGUSR1)

    assert "in stand_here" in take_stacks(slot_file)
    assert take_stacks(slot_file) == ""
    assert take_evidence(slot_file)["log"]


def test_p6_of_very_long_stacks_the_end_is_read(slot_file: Path) -> None:
    die(slot_file, signal.SIGSEGV)
    with Path(crash_path(slot_file)).open("ab") as file:
        file.write(b"x" * 1_000_000 + b"the end")

    stack = take_evidence(slot_file)["stack"]

    assert len(stack) == MOST_STACK
    assert stack.endswith("xthe end")
    assert Path(crash_path(slot_file)).stat().st_size == HEAD


def test_the_next_worker_begins_with_an_empty_file(slot_file: Path) -> None:
    die(slot_file, signal.SIGSEGV)
    die(slot_file, signal.SIGKILL)

    assert set(take_evidence(slot_file)) == {"log"}


def test_what_is_no_crash_file_is_no_evidence(slot_file: Path) -> None:
    assert take_evidence(slot_file) == {}

    Path(crash_path(slot_file)).write_bytes(b"short")
    assert take_evidence(slot_file) == {}
    assert take_stacks(slot_file) == ""

    remove_crash_file(slot_file)
    remove_crash_file(slot_file)
    assert not Path(crash_path(slot_file)).exists()


def test_a_worker_without_room_for_its_crash_file_dumps_to_stderr(tmp_path: Path) -> None:
    assert die(tmp_path / "nowhere" / "orders.0.slot", signal.SIGSEGV) == -signal.SIGSEGV
