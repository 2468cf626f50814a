"""A real parent process over fake workers, for tests: started, asked, killed, and read."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from supervisor.control.client import ControlClient, ControlError
from supervisor.core.events import Event
from supervisor.core.snapshot import SlotSnapshot, SlotState, Snapshot
from tests.waiting import wait_until

QUICK: dict[str, Any] = {
    "stop_timeout": 1.0,
    "close_timeout": 0.3,
    "term_timeout": 0.3,
    "hung_timeout": 0.3,
    "abort_timeout": 0.3,
    "kill_timeout": 1.0,
    "dump_timeout": 0.2,
    "leave_timeout": 3.0,
    "backoff": [0.2, 2.0, 2.0, 0.0],
}
"""A policy whose seconds are tenths."""

RESTLESS: dict[str, Any] = {"backoff": [0.0, 1.0, 0.0, 0.0], "failover_after": 100.0, "group_failures": 0}
"""A policy that starts again at once, for ever, however many fail."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a fake worker wrote about itself."""

    at: float
    name: str
    incarnation: int
    mode: str
    pid: int
    what: str


class Parent:
    """One parent process. Leave the ``with`` block and it is stopped, or killed with what is left of it."""

    def __init__(self, folder: Path, groups: dict[str, int] | None = None, **policy: Any) -> None:
        self.folder = folder
        self.client = ControlClient(folder / "run" / "control.sock", timeout=5)
        self.errors = folder / "errors"
        self._groups = groups or {"orders": 1}
        self._policy = {**QUICK, **policy}
        self.process: subprocess.Popen[bytes] | None = None
        self.through: tuple[str, ...] = ()
        """A program that becomes the parent."""

    def start(self) -> "Parent":
        arguments = (str(self.folder), json.dumps(self._groups), json.dumps(self._policy))
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                (*self.through, sys.executable, "-m", "tests.process.parent_program", *arguments),
                stderr=errors,
                stdin=subprocess.DEVNULL,
            )
        return self

    def __enter__(self) -> Self:
        self.start()
        self.snapshot_when(lambda _: True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def client_socket(self) -> Path:
        return Path(self.client.socket_path)

    def behave(self, words: str, name: str = "all") -> None:
        """Tell workers that start from now on what to do."""
        temporary = self.folder / f".{name}"
        temporary.write_text(words)
        temporary.replace(self.folder / name)

    def have_say(self, slot: str, kind: str, **members: object) -> None:
        """Have a running fake worker (``GROUP-SLOT``) send a frame."""
        temporary = self.folder / f".{slot}.frame"
        temporary.write_text(json.dumps({"type": kind, **members}))
        temporary.replace(self.folder / f"{slot}.frame")

    def exit_code(self, timeout: float = 20) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def snapshot_when(self, condition: Callable[[Snapshot], bool], timeout: float = 15) -> Snapshot:
        found: list[Snapshot] = []

        def asked() -> bool:
            try:
                found[:] = [self.client.status()]
            except ControlError:
                assert self.process is not None
                assert self.process.poll() is None, self.errors.read_text()
                return False
            return condition(found[0])

        try:
            wait_until(asked, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{found}\n{self.errors.read_text()}") from error
        return found[0]

    def slot_when(
        self, state: SlotState, *, slot: int = 0, group: str = "orders", incarnation: int = 0, timeout: float = 15
    ) -> SlotSnapshot:
        """Return the slot once it is in ``state`` and at least at ``incarnation``."""

        def there(snapshot: Snapshot) -> bool:
            one = pick(snapshot, group, slot)
            return one.state is state and one.incarnation >= incarnation

        return pick(self.snapshot_when(there, timeout), group, slot)

    def events(self, name: str = "") -> list[Event]:
        return [entry.event for entry in self.client.events().entries if not name or entry.event.name == name]

    def log(self, what: str = "") -> list[Line]:
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        parsed = []
        for line in lines:
            at, name, incarnation, mode, pid, rest = line.split(" ", 5)
            parsed.append(Line(float(at), name, int(incarnation), mode, int(pid), rest))
        return [line for line in parsed if line.what.startswith(what)]


def pick(snapshot: Snapshot, group: str = "orders", slot: int = 0) -> SlotSnapshot:
    return next(one for found in snapshot.groups if found.name == group for one in found.slots if one.slot == slot)


def all_run(snapshot: Snapshot) -> bool:
    slots = [slot for group in snapshot.groups for slot in group.slots]
    return all(slot.state is SlotState.RUNNING and slot.joined for slot in slots)


def leave_a_survivor(folder: Path) -> None:
    """Kill a parent of two slots whose second worker lives on."""
    first = Parent(folder, {"orders": 2})
    first.behave("survive 600", "orders-1")
    with first:
        first.snapshot_when(all_run)
        os.kill(first.pid, signal.SIGKILL)
        first.exit_code()
    first.behave("work", "orders-1")


class Deaths:
    """Every death that a parent tells, by pid: looked at more often than its memory of events runs over."""

    def __init__(self, parent: Parent) -> None:
        self.seen: dict[int, Event] = {}
        self._parent = parent
        self._seq = 0

    def look(self) -> dict[int, Event]:
        """Take the deaths that were told since the last look; none may be told twice, or be lost."""
        page = self._parent.client.events(self._seq)
        assert not page.dropped
        for entry in page.entries:
            self._seq = entry.seq
            if entry.event.name == "worker.exited":
                pid = int(str(entry.event.fields["pid"]))
                assert pid not in self.seen, f"{pid} died twice"
                self.seen[pid] = entry.event
        return self.seen
