"""What idle workers cost: memory each, the parent's processor time, and whether the parent grows over many restarts."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil

from bench.stage import BenchError, Figures, Stage, progress, wait_for
from supervisor.control.client import ControlClient, ControlError
from supervisor.core.snapshot import SlotSnapshot, SlotState
from tests.broker.records import create_topic

FEW = 16
MANY = 64
SETTLE = 3.0
"""Seconds after the last start until nothing that starting brings is measured any more."""
MB = 1e6
_CONFIG = """
[supervisor]
name = "bench"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
start_method = "{start_method}"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[groups.{name}]
topics = ["{topic}"]
handler = "bench.handlers:process"
workers = {workers}
"""


def run(stage: Stage) -> Figures:
    """Watch 64 idle workers for a while and restart them until there were 1,000 restarts; quick: fewer."""
    return measure(
        stage, few=FEW, many=MANY, seconds=8.0 if stage.quick else 30.0, restarts=128 if stage.quick else 1000
    )


def measure(stage: Stage, *, few: int, many: int, seconds: float, restarts: int) -> Figures:
    """Start ``few`` workers of each kind for their memory, then ``many`` for all else."""
    topic = create_topic(stage.bootstrap, "footprint", partitions=many)
    figures: Figures = {"workers": few}
    for method, prefix in (("fork", ""), ("exec", "exec_")):
        with Idle(stage, f"few-{method}", topic, workers=few, start_method=method) as idle:
            idle.wait_until_joined()
            workers = [_pss(pid) for pid in idle.pids]
            figures[f"{prefix}pss_mb"] = round(sum(workers) / len(workers) / MB, 2)
            if method == "fork":
                figures["zygote_pss_mb"] = round(sum(map(_pss, idle.zygotes)) / MB, 2)
                figures["parent_pss_mb"] = round(_pss(idle.parent.pid) / MB, 2)
            progress(f"{few} workers, {method}: {figures[f'{prefix}pss_mb']} MB each")
    with Idle(stage, "many", topic, workers=many) as idle:
        idle.wait_until_ready()
        figures["start64_s"] = round(time.monotonic() - idle.begun, 2)
        idle.wait_until_joined()
        progress(f"{many} workers are ready after {figures['start64_s']} s")
        figures |= _load(idle, seconds)
        figures |= _growth(idle, restarts)
    return figures


class Idle:
    """A ``supervisor run`` whose workers have nothing to do."""

    def __init__(self, stage: Stage, name: str, topic: str, *, workers: int, start_method: str = "fork") -> None:
        self.name = name
        self.workers = workers
        folder = stage.folder / name
        folder.mkdir(parents=True)
        config = folder / "supervisor.toml"
        config.write_text(
            _CONFIG.format(
                folder=folder,
                bootstrap=stage.bootstrap,
                name=name,
                topic=topic,
                workers=workers,
                start_method=start_method,
            )
        )
        self.client = ControlClient(folder / "run" / "control.sock", timeout=30)
        self.begun = time.monotonic()
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "supervisor", "--config", str(config), "run"],
                stdout=log,
                stderr=log,
                env=stage.environment,
                cwd=folder,
            )
        self.parent = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        """Return itself, started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, or kill it; workers end with their parent."""
        self._process.terminate()
        try:
            self._process.wait(90)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    @property
    def pids(self) -> list[int]:
        """Return the workers' pids."""
        return [slot.pid for slot in self.slots() if slot.pid is not None]

    @property
    def zygotes(self) -> list[int]:
        """Return the pids of the zygotes."""
        return [child.pid for child in self.parent.children() if _title(child.pid).startswith("supervisor: zygote")]

    def slots(self) -> Sequence[SlotSnapshot]:
        """Return what the supervisor says of its slots; none before it listens."""
        if self._process.poll() is not None:
            message = f"supervisor run ended with {self._process.returncode}:\n{self._log.read_text()[-2000:]}"
            raise BenchError(message)
        try:
            return self.client.status().groups[0].slots
        except ControlError:
            return ()

    def wait_until_ready(self, incarnation: int = 1) -> None:
        """Wait until each slot's worker of that incarnation polls."""

        def ready() -> bool:
            running = [slot for slot in self.slots() if slot.state is SlotState.RUNNING]
            return sum(slot.incarnation >= incarnation for slot in running) == self.workers

        wait_for(ready, f"{self.workers} workers are not ready", timeout=120, every=0.05)

    def wait_until_joined(self) -> None:
        """Wait until each worker has its assignment, and what that took is over."""
        wait_for(
            lambda: sum(slot.joined for slot in self.slots()) == self.workers,
            f"{self.workers} workers do not join",
            timeout=120,
            every=0.2,
        )
        time.sleep(SETTLE)


def _load(idle: Idle, seconds: float) -> Figures:
    """Measure processor time while nothing happens, and nobody asks."""
    watched = {"parent": [idle.parent.pid], "zygote": idle.zygotes}
    before = {name: sum(map(_cpu, pids)) for name, pids in watched.items()}
    time.sleep(seconds)
    used = {name: sum(map(_cpu, pids)) - before[name] for name, pids in watched.items()}
    progress(f"the parent used {used['parent']:.3f} s in {seconds:g} s")
    return {f"{name}_cpu_percent": round(100 * spent / seconds, 2) for name, spent in used.items()}


def _growth(idle: Idle, restarts: int) -> Figures:
    """Restart all workers until there were ``restarts``; compare the parent before and after."""
    with _grown(idle) as grown:
        done, incarnation = 0, 1
        while done < restarts:
            incarnation += 1
            idle.client.restart(idle.name)
            idle.wait_until_ready(incarnation)
            done += idle.workers
            progress(f"{done} restarts")
        time.sleep(SETTLE)
    return {"restarts": done, **grown}


@contextmanager
def _grown(idle: Idle) -> Iterator[dict[str, int]]:
    found: dict[str, int] = {}
    before = idle.parent.num_fds(), idle.parent.num_threads(), len(idle.parent.children())
    yield found
    found["fd_growth"] = idle.parent.num_fds() - before[0]
    found["thread_growth"] = idle.parent.num_threads() - before[1]
    found["child_growth"] = len(idle.parent.children()) - before[2]


def _pss(pid: int) -> int:
    """Return a process' proportional set size in bytes (proc(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    message = f"the kernel does not say how much memory {pid} uses"
    raise BenchError(message)


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
