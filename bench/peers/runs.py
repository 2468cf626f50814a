"""Run peers in turns with our own sides on the same topic, watched as these are. A failing peer is a result too."""

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

from bench.peers.catalog import Peer
from bench.peers.environments import interpreters, last_words
from bench.peers.task import Task
from bench.stage import Figures, Stage, progress
from bench.windows import TICK, Window, cpu_of, median, median_cpu
from supervisor.kafka.settings import DEFAULTS

QUICK_ROUNDS, ROUNDS = 3, 5
START_LIMIT = 30.0
WINDOW_LIMIT = 60.0
_CLIENT = ("queued.max.messages.kbytes", "fetch.queue.backoff.ms")


class PeerError(Exception):
    """A peer did not do what is measured; the text says what it did."""


@dataclass(frozen=True, slots=True)
class PeerRuns:
    """The peers of one benchmark: who can run, and what was measured. Make it with ``prepare``."""

    stage: Stage
    topic: str
    total: int
    warm: float
    peers: Mapping[str, Peer]
    pythons: Mapping[str, Path]
    failed: dict[str, str]
    windows: dict[str, dict[int, Window]] = field(default_factory=dict)

    @classmethod
    def prepare(cls, stage: Stage, peers: Sequence[Peer], *, topic: str, total: int, warm: float = 0.0) -> "PeerRuns":
        """Make the peers' environments; what cannot be made is noted. Windows begin ``warm`` seconds after a record."""
        found = interpreters(peer.environment for peer in peers)
        pythons, failed = {}, {}
        for peer in peers:
            match found[peer.environment]:
                case Path() as python:
                    pythons[peer.name] = python
                case reason:
                    failed[peer.name] = reason
                    progress(f"{peer.name}: not measured: {reason}")
        return cls(stage, topic, total, warm, {peer.name: peer for peer in peers}, pythons, failed)

    def due(self, number: int) -> list[str]:
        """Return the peers to run in round ``number`` (from 0): in the first few rounds all that have not failed."""
        rounds = QUICK_ROUNDS if self.stage.quick else ROUNDS
        return [name for name in self.peers if name not in self.failed] if number < rounds else []

    def measure(self, name: str, number: int) -> None:
        """Run one peer and note its window, or why there is none; what a peer does never raises."""
        try:
            window = self._window(self.peers[name], number)
        except (PeerError, OSError) as error:
            self.failed[name] = str(error)
            progress(f"{name}: not measured: {error}")
            return
        self.windows.setdefault(name, {})[number] = window
        progress(f"{name}: {window.per_s:,.0f} records/s")

    def figures(self, baseline: Sequence[Window]) -> Figures:
        """Return the ``peers`` object, nothing without peers; ratios are to the baseline's window of the same round."""
        return {"peers": {name: self._of(peer, baseline) for name, peer in self.peers.items()}} if self.peers else {}

    def _of(self, peer: Peer, baseline: Sequence[Window]) -> Figures:
        told: Figures = {"version": peer.version, "how": peer.how, "guarantee": peer.guarantee}
        if peer.name in self.failed:
            return {"not_measured": self.failed[peer.name], **told}
        windows = self.windows[peer.name]
        measured = list(windows.values())
        rates = (one.per_s / baseline[at].per_s for at, one in windows.items())
        costs = (one.cpu_us / baseline[at].cpu_us for at, one in windows.items())
        return {
            "per_s": median(measured),
            "ratio": round(statistics.median(rates), 4),
            "cpu_us": median_cpu(measured),
            "cpu_ratio": round(statistics.median(costs), 2),
            "records": min(peer.records, self.total),
            "rounds": len(measured),
            **told,
        }

    def _window(self, peer: Peer, number: int) -> Window:
        file = self.stage.folder / f"{peer.name}-{number}.progress"
        task = Task(
            bootstrap=self.stage.bootstrap,
            topic=self.topic,
            group=f"peer-{peer.name}-{number}",
            progress=str(file),
            variant=peer.variant,
            sleep=peer.sleep,
            concurrency=peer.concurrency,
            client={key: DEFAULTS[key] for key in _CLIENT},
        )
        with _running(self.stage, self.pythons[peer.name], peer.program, task) as process:
            return self._watch(process, file, peer.records)

    def _watch(self, process: "subprocess.Popen[bytes]", file: Path, records: int) -> Window:
        """Measure between two looks, each a time and the count at it."""
        deadline = time.monotonic() + START_LIMIT
        while not file.exists():
            _go_on(process, deadline, "did not begin")
        with _words(file) as words:
            while not sum(words):
                _go_on(process, deadline, "no record was done")
            time.sleep(self.warm)
            first, started, cpu = sum(words), time.monotonic(), _cpu(process)
            last = min(first + records, self.total)
            deadline = started + WINDOW_LIMIT
            while (count := sum(words)) < last:
                _go_on(process, deadline, f"{count:,} of {last:,} records were done")
            ended, used = time.monotonic(), _cpu(process) - cpu
        if count == first:
            message = f"all {count:,} records were done at the first look: too few to measure"
            raise PeerError(message)
        return Window((count - first) / (ended - started), used / (count - first) * 1e6)


@contextmanager
def _running(stage: Stage, python: Path, program: Path, task: Task) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a peer's program in a session of its own, which does not outlive this.

    Its errors end with what it said last.
    """
    folder = Path(f"{task.progress}.folder")  # some keep state, or look for settings, where they are started
    folder.mkdir()
    log = Path(f"{task.progress}.log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [python, "-P", program, task.argument()],
            cwd=folder,
            env=stage.environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    except PeerError as error:
        message = f"{error}; it said: {last_words(log.read_text(errors='replace'))}"
        raise PeerError(message) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@contextmanager
def _words(file: Path) -> Iterator["memoryview[int]"]:
    with (
        file.open("r+b") as opened,
        mmap.mmap(opened.fileno(), 0) as memory,
        memoryview(memory) as plain,
        plain.cast("q") as words,
    ):
        yield words


def _go_on(process: "subprocess.Popen[bytes]", deadline: float, otherwise: str) -> None:
    """Wait a tick, unless there is nothing to wait for."""
    code = process.poll()
    if code is not None:
        message = f"ended with {code}, {otherwise}"
        raise PeerError(message)
    if time.monotonic() > deadline:
        message = f"{otherwise} in time"
        raise PeerError(message)
    time.sleep(TICK)


def _cpu(process: "subprocess.Popen[bytes]") -> float:
    """Return the processor time of a peer; each is one process."""
    try:
        return cpu_of(process.pid)
    except OSError:
        message = "ended while it was watched"
        raise PeerError(message) from None
