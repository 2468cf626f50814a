"""Run peers in turns with our own sides, on the same topic, watched as these are. A peer's failure is a result, not ours."""

import contextlib
import mmap
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.peers.catalog import Peer
from bench.peers.environments import interpreters, last_words
from bench.peers.task import Task
from bench.stage import Stage, progress
from supervisor.kafka.settings import DEFAULTS

ROUNDS = 3
TICK = 0.001
START_LIMIT = 30.0
WINDOW_LIMIT = 60.0
_CLIENT = ("queued.max.messages.kbytes", "fetch.queue.backoff.ms")


class PeerError(Exception):
    """A peer did not do what is measured; the text says what it did."""


@dataclass(frozen=True, slots=True)
class Window:
    """One run of a peer: records per second, and processor time per record in microseconds."""

    per_s: float
    cpu_us: float


@dataclass(slots=True)
class PeerRuns:
    """The peers of one benchmark run. Make it with ``prepare``."""

    stage: Stage
    topic: str
    total: int
    peers: Mapping[str, Peer]
    pythons: Mapping[str, Path]
    failed: dict[str, str] = field(default_factory=dict)
    windows: dict[str, dict[int, Window]] = field(default_factory=dict)

    @classmethod
    def prepare(cls, stage: Stage, peers: Sequence[Peer], *, topic: str, total: int) -> "PeerRuns":
        """Make the peers' environments; what cannot be made is noted."""
        found = interpreters(peer.environment for peer in peers)
        of_peer = {peer.name: found[peer.environment] for peer in peers}
        for name, there in of_peer.items():
            if isinstance(there, str):
                progress(f"{name}: {there}")
        return cls(
            stage,
            topic,
            total,
            {peer.name: peer for peer in peers},
            {name: there for name, there in of_peer.items() if isinstance(there, Path)},
            {name: there for name, there in of_peer.items() if isinstance(there, str)},
        )

    def due(self, number: int) -> list[str]:
        """Return the peers to run in round ``number`` (from 0): all that have not failed, in the first few rounds."""
        return [name for name in self.peers if name not in self.failed] if number < ROUNDS else []

    def measure(self, name: str, number: int) -> None:
        """Run one peer and note its window, or why there is none. It never raises for what a peer did."""
        try:
            window = self._window(self.peers[name], number)
        except (PeerError, OSError) as error:
            self.failed[name] = str(error)
            progress(f"{name}: not measured: {error}")
            return
        self.windows.setdefault(name, {})[number] = window
        progress(f"{name}: {window.per_s:,.0f} records/s")

    def figures(self, raw_per_s: Sequence[float]) -> dict[str, dict[str, object]]:
        """Return what is known of each peer; ratios to our raw loop's rate of the same round, one per round from 0."""
        return {name: self._of(peer, raw_per_s) for name, peer in self.peers.items()}

    def _of(self, peer: Peer, raw_per_s: Sequence[float]) -> dict[str, object]:
        told: dict[str, object] = {"version": peer.version, "how": peer.how, "guarantee": peer.guarantee}
        if peer.name in self.failed:
            return {"not_measured": self.failed[peer.name]} | told
        windows = self.windows[peer.name]
        ratio = statistics.median(window.per_s / raw_per_s[number] for number, window in windows.items())
        return {
            "per_s": round(statistics.median(window.per_s for window in windows.values())),
            "ratio": round(ratio, 4),
            "cpu_us": round(statistics.median(window.cpu_us for window in windows.values()), 2),
            "records": self._records(peer),
            "rounds": len(windows),
        } | told

    def _records(self, peer: Peer) -> int:
        return min(peer.records, self.total)

    def _window(self, peer: Peer, number: int) -> Window:
        file = self.stage.folder / f"{peer.name}-{number}.progress"
        task = Task(
            bootstrap=self.stage.bootstrap,
            topic=self.topic,
            group=f"peer-{self.topic}-{peer.name}-{number}",
            progress=str(file),
            variant=peer.variant,
            sleep=peer.sleep,
            concurrency=peer.concurrency,
            client={key: DEFAULTS[key] for key in _CLIENT},
        )
        with _running(self.stage, self.pythons[peer.name], peer.program, task) as process:
            return _watch(process, file, self._records(peer))


@contextmanager
def _running(stage: Stage, python: Path, program: Path, task: Task) -> Iterator[subprocess.Popen[bytes]]:
    """Run a peer's program in a process group of its own, which does not outlive this."""
    folder = stage.folder / f"{task.group}.folder"  # some keep state or look for settings where they are started
    folder.mkdir()
    with Path(f"{task.progress}.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-P", program, task.argument()],
            cwd=folder,
            env=stage.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    except PeerError as error:
        said = last_words(Path(f"{task.progress}.log").read_text(errors="replace"))
        message = f"{error}; it said: {said}"
        raise PeerError(message) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _watch(process: "subprocess.Popen[bytes]", file: Path, records: int) -> Window:
    """Measure from the first progress that is seen to the last; both ends are exact: a time and the count at it."""
    deadline = time.monotonic() + START_LIMIT
    while not file.exists():
        _go_on(process, deadline, "did not begin")
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory, memoryview(memory) as plain:
        with plain.cast("q") as words:
            first, started, cpu = _first(process, words)
            deadline = started + WINDOW_LIMIT
            while (count := sum(words)) < records:
                _go_on(process, deadline, f"{count:,} of {records:,} records done")
            ended = time.monotonic()
            used = _cpu(process) - cpu
    done = count - first
    if not done:
        message = f"all {count:,} records were done at the first look: too few to measure"
        raise PeerError(message)
    return Window(done / (ended - started), used / done * 1e6)


def _first(process: "subprocess.Popen[bytes]", words: "memoryview[int]") -> tuple[int, float, float]:
    deadline = time.monotonic() + START_LIMIT
    while not (count := sum(words)):
        _go_on(process, deadline, "no record")
    return count, time.monotonic(), _cpu(process)


def _go_on(process: "subprocess.Popen[bytes]", deadline: float, otherwise: str) -> None:
    """Wait a tick, unless there is nothing to wait for."""
    code = process.poll()
    if code is not None:
        message = f"ended with {code}: {otherwise}"
        raise PeerError(message)
    if time.monotonic() > deadline:
        message = f"{otherwise} in time"
        raise PeerError(message)
    time.sleep(TICK)


def _cpu(process: "subprocess.Popen[bytes]") -> float:
    """Return the processor time of a peer; all of these are one process."""
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.NoSuchProcess:
        message = "ended while it was watched"
        raise PeerError(message) from None
    return times.user + times.system
