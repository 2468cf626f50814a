"""A real ``supervisor run`` in a folder of its own, and what a test does to it: ask, kill, stop, start again."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from supervisor.control.client import ControlClient, ControlError
from supervisor.core.events import Event
from supervisor.core.snapshot import SlotSnapshot, SlotState
from tests.waiting import is_alive
from tests.whole.ledger import Ledger

T = TypeVar("T")

HERE = Path(__file__).parent
PROC = Path("/proc")

CONFIG = """
[supervisor]
name = "{name}"
state_dir = "state"
runtime_dir = "run"
{supervisor}

[kafka]
"bootstrap.servers" = "{bootstrap}"
"fetch.wait.max.ms" = 50
"reconnect.backoff.max.ms" = 500
{kafka}

[groups."{group}"]
topics = ["{topic}"]
handler = "work:{handler}"
commit.interval = "200ms"
{options}
"""


class Program:
    """One supervisor's folder and, while it runs, its process. ``close`` kills whatever is left of it."""

    def __init__(self, folder: Path, config: str, ledger: Ledger) -> None:
        folder.mkdir()
        shutil.copy(HERE / "work.py", folder)
        self.config = folder / "supervisor.toml"
        self.config.write_text(config)
        self.folder = folder
        self.ledger = ledger
        self.log = folder / "supervisor.log"
        self.control = ControlClient(folder / "run" / "control.sock", timeout=5.0)
        self._mark = str(folder)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the supervisor and of the commands that ask it."""
        ours = {"LEDGER": str(self.ledger.folder), "SUPERVISOR_TEST_FOLDER": self._mark}
        drop = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "SUPERVISOR_CONFIG", "SUPERVISOR_SOCKET")
        return {key: value for key, value in os.environ.items() if key not in drop} | ours

    def start(self, *arguments: str) -> "Program":
        """Start it, as systemd would; returns at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command("run", *arguments),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        return self

    def cli(self, *arguments: str, timeout: float = 30.0) -> "subprocess.CompletedProcess[str]":
        """Run one of the supervisor's commands, as a person would."""
        return subprocess.run(
            self._command(*arguments),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "supervisor", "-c", str(self.config), *arguments]

    # What it says.

    def slots(self) -> list[SlotSnapshot]:
        """Return its slots, none while it does not answer."""
        with contextlib.suppress(ControlError):
            return [slot for group in self.control.status().groups for slot in group.slots]
        return []

    def slot(self, number: int) -> SlotSnapshot:
        """Return one slot of its only group."""
        return next(slot for slot in self.wait(self.slots) if slot.slot == number)

    def owners(self) -> dict[int, SlotSnapshot]:
        """Return which running slot owns which partition, as the workers last said."""
        return {
            owned.partition: slot
            for slot in self.slots()
            for owned in (slot.stats.partitions if slot.stats and slot.pid else ())
        }

    def shared_out(self, partitions: int) -> bool:
        """Tell whether every partition has an owner and no worker is without one that could have one."""
        owners, slots = self.owners(), self.slots()
        return len(owners) == partitions and len({slot.slot for slot in owners.values()}) == min(partitions, len(slots))

    def running(self) -> bool:
        """Tell whether every slot runs and has joined."""
        slots = self.slots()
        return bool(slots) and all(slot.state is SlotState.RUNNING and slot.joined for slot in slots)

    def events(self, name: str) -> list[Event]:
        """Return the events of a name that it remembers."""
        with contextlib.suppress(ControlError):
            return [entry.event for entry in self.control.events().entries if entry.event.name == name]
        return []

    def logged(self, *words: str) -> list[str]:
        """Return the log lines (its own, its workers') that hold all ``words``."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if all(word in line for word in words)]

    def wait(self, condition: Callable[[], T], timeout: float = 20.0, what: str = "condition") -> T:
        """Return the first true value of ``condition``; after ``timeout`` seconds fail with the log's end."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > deadline:
                code = self.process.poll() if self.process else None
                seen = [(slot.slot, slot.state.value, slot.reason, slot.stats) for slot in self.slots()]
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])
                message = f"{what}: not met in {timeout:g} s (last: {value!r:.500}); exit {code}; {seen}\n{tail}"
                raise AssertionError(message)
            time.sleep(0.02)
        return value

    # Its processes.

    def workers(self) -> dict[int, int]:
        """Return the pid of each slot's live process, as the supervisor sees it."""
        return {slot.slot: slot.pid for slot in self.slots() if slot.pid is not None}

    def pids(self) -> list[int]:
        """Return every live process that it started, itself included, orphans too."""
        mark = f"SUPERVISOR_TEST_FOLDER={self._mark}\0".encode()
        found = []
        for entry in PROC.glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes() and is_alive(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def slot_processes(self) -> dict[str, list[int]]:
        """Return the live worker processes by slot file, as the kernel lists them: at most one each (P4).

        A worker is what has a slot file mapped, which it does once it has the lock, however it was started.
        """
        found: dict[str, list[int]] = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines = (PROC / str(pid) / "maps").read_text().splitlines()
                for path in {line.split(maxsplit=5)[5] for line in lines if line.endswith(".slot")}:
                    found.setdefault(path, []).append(pid)
        return found

    def kill_worker(self, number: int) -> int:
        """SIGKILL a slot's worker and return its pid."""
        pid = self.wait(lambda: self.workers().get(number, 0), what=f"slot {number} has a process")
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill(self) -> None:
        """SIGKILL the parent alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def kill_all(self, rng: random.Random) -> None:
        """SIGKILL the parent and all of its children at once, in any order, as a cgroup's kill does."""
        deadline = time.monotonic() + 10
        while pids := self.pids():
            for pid in rng.sample(pids, len(pids)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < deadline, f"unkillable: {pids}"
        if self.process is not None:
            self.process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        """Send the parent a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self, timeout: float = 20.0) -> int:
        """Wait until the parent has ended and return its exit code; nothing of it may be left then."""
        assert self.process is not None
        self.wait(lambda: self.process is not None and self.process.poll() is not None, timeout, "it ends")
        left = self.pids()
        assert not left, f"processes left: {left}"
        return int(self.process.returncode)

    def terminate(self, timeout: float = 20.0) -> int:
        """SIGTERM the parent and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.ended(timeout)

    def close(self) -> None:
        """Kill whatever is left."""
        self.kill_all(random.Random(0))
