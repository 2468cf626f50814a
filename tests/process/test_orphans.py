"""P4: no worker outlives its parent beyond a grace period, whatever it is busy with when the parent is killed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.waiting import is_alive, wait_until

BOUND = 16
"""Seconds after which the kernel ends an orphan that could not notice: the number of SIGSTKFLT."""
linux = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")


@contextlib.contextmanager
def orphan(behaviour: str) -> Iterator[int]:
    """Return the pid of a child whose parent was killed just now."""
    parent = subprocess.Popen((sys.executable, "-m", "tests.process.orphan_program", behaviour), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait(10)
        yield pid
    finally:
        parent.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@linux
def test_p4_an_orphan_whose_handler_holds_the_interpreter_lock_in_c_is_ended_by_the_kernel() -> None:
    with orphan("holds-the-lock") as pid:
        wait_until(lambda: not is_alive(pid), BOUND + 20, every=0.2)


@pytest.mark.parametrize("behaviour", ["ignores-sigterm", "does-not-end"])
def test_p4_an_orphan_that_ignores_sigterm_or_does_not_end_when_told_is_ended_after_its_grace(behaviour: str) -> None:
    with orphan(behaviour) as pid:
        wait_until(lambda: not is_alive(pid), 15)


def test_an_orphan_that_obeys_ends_by_itself() -> None:
    with orphan("obeys") as pid:
        wait_until(lambda: not is_alive(pid), 10)


def test_what_an_orphan_started_ends_with_it() -> None:
    with orphan("has-a-child") as helper:
        wait_until(lambda: not is_alive(helper), 10)
