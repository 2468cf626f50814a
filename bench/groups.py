"""The two groups that ``failover`` compares: workers under ``supervisor run``, and members started by hand.

Both note their records in one file per process, ``SLOT-INCARNATION-PID`` (see ``handlers.Noted``).
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from bench.handlers import LEDGER
from bench.sides import BY_HAND
from bench.stage import BenchError, Stage, wait_for
from supervisor.config import load, worker_spec
from supervisor.core.spec import Mode
from supervisor.kafka.settings import consumer_settings

SLOTS = 3
MOVES = 1.0
"""Seconds without a record after which a partition is not this process's any more."""
_CONFIG = """
[supervisor]
name = "bench"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
log_format = "json"
start_method = "{start_method}"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[groups.{name}]
topics = ["{topic}"]
handler = "bench.handlers:Noted"
workers = {workers}
"""
_REBALANCE = {"partitions.assigned", "partitions.revoked", "partitions.lost"}
_STEPS = {"worker.exited": "seen", "worker.ready": "ready", "partitions.assigned": "assigned"}
"""Log events of a slot's way back, and what the figures call them."""
RAW_MEMBER = Path(__file__).parent / "raw_member.py"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One process of a slot: when (monotonic) it noted the first and the newest record of each partition."""

    number: int
    pid: int
    first: Mapping[int, float]
    newest: Mapping[int, float]

    @property
    def owned(self) -> set[int]:
        """The partitions that move: those of before a rebalance do not."""
        return {partition for partition, at in self.newest.items() if at > max(self.newest.values()) - MOVES}


class Group(Protocol):
    """Members with numbered slots, of which one is killed and comes back."""

    def newest(self, slot: int) -> Incarnation:
        """Return the slot's process of now; number 0 before the first."""
        ...

    def kill(self, slot: int) -> float:
        """SIGKILL the slot's process, see to it that it is started again, and return when (monotonic)."""
        ...

    def callbacks(self, slot: int) -> int:
        """Return how many rebalance callbacks the slot's processes saw so far, empty ones included."""
        ...


def newest(folder: Path, slot: int) -> Incarnation:
    """Read the ledger of a slot's newest process."""
    found = [tuple(int(part) for part in file.name.split("-")) for file in folder.glob(f"{slot}-*")]
    if not found:
        return Incarnation(0, 0, {}, {})
    _, number, pid = max(found)
    return _read(folder, slot, number, pid=pid)


def _read(folder: Path, slot: int, number: int, *, pid: int) -> Incarnation:
    records = []
    for line in (folder / f"{slot}-{number}-{pid}").read_text().splitlines():
        match line.split():
            case ["record", partition, at]:
                records.append((int(partition), float(at)))
    return Incarnation(number, pid, dict(reversed(records)), dict(records))


class Supervised:
    """A real ``supervisor run`` with all defaults but the start method; it restarts what is killed."""

    def __init__(
        self, stage: Stage, name: str, topic: str, *, workers: int = SLOTS, start_method: str = "fork"
    ) -> None:
        self.name = name
        self._folder = stage.folder / name
        self._ledger = self._folder / "ledger"
        self._ledger.mkdir(parents=True)
        self.config = self._folder / "supervisor.toml"
        text = _CONFIG.format(
            folder=self._folder,
            bootstrap=stage.bootstrap,
            name=name,
            topic=topic,
            workers=workers,
            start_method=start_method,
        )
        self.config.write_text(text)
        self.log = self._folder / "log"
        self.socket = self._folder / "run" / "control.sock"
        command = [sys.executable, "-m", "supervisor", "--config", str(self.config), "run"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=stage.environment | {LEDGER: str(self._ledger)}, cwd=self._folder
            )

    def __enter__(self) -> Self:
        """Return itself, started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it as an operator would, or kill it; workers end with their parent."""
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def newest(self, slot: int) -> Incarnation:
        """See ``Group``."""
        if self._process.poll() is not None:
            message = f"supervisor run ended with {self._process.returncode}:\n{self.log.read_text()[-2000:]}"
            raise BenchError(message)
        return newest(self._ledger, slot)

    def incarnation(self, slot: int, number: int) -> Incarnation:
        """Return what one process of a slot noted, the newest or an earlier one."""
        (file,) = self._ledger.glob(f"{slot}-{number}-*")
        return _read(self._ledger, slot, number, pid=int(file.name.rsplit("-", 1)[1]))

    def kill(self, slot: int) -> float:
        """See ``Group``; starting again is the supervisor's part."""
        pid = self.newest(slot).pid
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return at

    def callbacks(self, slot: int) -> int:
        """See ``Group``; workers log every one."""
        return sum(line["event"] in _REBALANCE and line.get("slot") == slot for line in self._lines())

    def steps(self, slot: int, incarnation: int) -> dict[str, float]:
        """Return when (``time.time()``) the steps of the slot's way back were logged, to the millisecond."""
        found: dict[str, float] = {}
        for line in self._lines():
            step = _STEPS.get(line["event"])
            if step is None or line.get("slot") != slot:
                continue
            if line.get("incarnation") == (incarnation - 1 if step == "seen" else incarnation):
                found.setdefault(step, float(line["at"]))
        return found

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # half written, or not the logger's
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict) and "event" in line]


class ByHand:
    """Static members with the same client settings, each started again by us the moment it is dead."""

    def __init__(self, stage: Stage, like: Supervised, name: str, topic: str) -> None:
        self._stage = stage
        self._topic = topic
        self._ledger = stage.folder / name
        self._ledger.mkdir()
        spec = worker_spec(load(like.config), like.name, slot=0, incarnation=1, mode=Mode.WORK, parent_pid=0)
        self._settings = consumer_settings(spec) | BY_HAND | {"group.id": name}
        self._processes = [self._start(slot, 1) for slot in range(SLOTS)]

    def __enter__(self) -> Self:
        """Return itself, started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all members."""
        for process in self._processes:
            process.kill()
            process.wait(10)

    def newest(self, slot: int) -> Incarnation:
        """See ``Group``."""
        if self._processes[slot].poll() is not None:
            message = f"the member by hand ended with {self._processes[slot].returncode}"
            raise BenchError(message)
        return newest(self._ledger, slot)

    def kill(self, slot: int) -> float:
        """See ``Group``; starts the next process itself."""
        process, number = self._processes[slot], self.newest(slot).number
        at = time.monotonic()
        process.kill()
        process.wait(10)
        self._processes[slot] = self._start(slot, number + 1)
        return at

    def callbacks(self, slot: int) -> int:
        """See ``Group``."""
        files = list(self._ledger.glob(f"{slot}-*"))
        return sum(not line.startswith("record") for file in files for line in file.read_text().splitlines())

    def _start(self, slot: int, number: int) -> subprocess.Popen[bytes]:
        identity = f"{self._settings['group.id']}-{slot}"
        settings = self._settings | {"group.instance.id": identity, "client.id": identity}
        command = [sys.executable, "-P", str(RAW_MEMBER), json.dumps(settings), self._topic]
        return subprocess.Popen([*command, f"{self._ledger}/{slot}-{number}"], env=self._stage.environment)


def settle(group: Group) -> None:
    """Wait until every slot has delivered a record, and no callback came for 1.5 s: longer than a heartbeat.

    Every slot has seen a callback by then, its first assignment: where none was noted, none could be counted.
    """
    everyone = range(SLOTS)
    wait_for(lambda: all(group.newest(slot).newest for slot in everyone), "not every slot delivers")
    wait_for(lambda: all(group.callbacks(slot) for slot in everyone), "an assignment was not noted")
    seen: list[int] = []
    since = time.monotonic()

    def is_quiet() -> bool:
        nonlocal seen, since
        now = [group.callbacks(slot) for slot in everyone]
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    wait_for(is_quiet, "the group does not come to rest", every=0.1)
