"""Signals that come before there is anything they could be for: nothing dies, and who asked is answered."""

import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from supervisor.control.client import ControlError
from tests.process.parents import Parent, all_run
from tests.waiting import wait_until

HARMLESS = (signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH)
WORKERS = 3
MOST_ROUNDS = 60
"""Rounds of the storm, so that no event of it is forgotten."""
ASKING = {signal.SIGHUP: "reload", signal.SIGUSR1: "dump", signal.SIGUSR2: "reopen"}


def caught(pid: int) -> set[int]:
    """Return the signals that a process has handlers for, as the kernel has it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def all_up(parent: Parent) -> bool:
    try:
        return all_run(parent.client.status())
    except ControlError:
        return False


def heard(parent: Parent, what: str) -> Counter[str]:
    """Return how often each worker noted that."""
    return Counter(line.name for line in parent.log(what))


def test_a_storm_of_signals_between_listening_and_the_first_slots_ends_nothing_and_each_is_answered(
    tmp_path: Path,
) -> None:
    gate, rng = tmp_path / "gate", random.Random(8)
    (tmp_path / "next").write_text("{}")
    parent = Parent(tmp_path, {"orders": WORKERS}, gate=str(gate))
    with ExitStack() as stack:
        stack.push(parent.__exit__)
        pid = parent.start().pid
        wait_until(lambda: {*HARMLESS, *ASKING} <= caught(pid), 30, otherwise="it does not listen")
        for number in (*HARMLESS, *ASKING):
            parent.signal(number)
        refusals = [f"nothing to {what} now" for what in ASKING.values()]
        wait_until(lambda: all(text in parent.errors.read_text() for text in refusals), otherwise="nobody is refused")

        gate.touch()
        deadline, rounds = time.monotonic() + 30, 0
        while not all_up(parent):
            assert time.monotonic() < deadline, parent.errors.read_text()
            rounds += 1
            for number in rng.sample((*HARMLESS, *ASKING), 6 if rounds < MOST_ROUNDS else 0):
                parent.signal(number)

        assert parent.pid == pid
        assert {line.incarnation for line in parent.log("start")} == {1}
        assert parent.events("worker.exited") == []
        before = {what: heard(parent, what) for what in ("dumped", "reopened")}
        for number in ASKING:
            parent.signal(number)
        wait_until(
            lambda: all(len(heard(parent, what) - count) == WORKERS for what, count in before.items()),
            30,
            otherwise="not everybody dumped and reopened",
        )
        wait_until(
            lambda: len(parent.events("reload.done")) == len(parent.events("reload.started")) > 0,
            30,
            otherwise="not reloaded",
        )
        assert parent.events("reload.failed") == []
        assert all_up(parent)
        parent.signal(signal.SIGTERM)
        assert parent.exit_code() == 0
