"""What one process did in a stretch of time: records per second, and processor time per record.

A measured process shows its progress in a slot file. One observer reads it about each millisecond, so that nothing
is measured in the way of a record, and both sides are seen with the same eyes.
"""

import mmap
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.stage import BenchError, wait_for
from supervisor.core.board import C_OFFSET, C_SEQUENCE, H_MAGIC, H_SETTLED, IDLE, MAGIC, cell_base, size

TICK = 0.001
LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A process to watch: its slot file, how many cells that has, its id, and the topic it writes to, if any."""

    file: Path
    cells: int
    pid: int
    output: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement: records per second, and processor time per record in microseconds."""

    per_s: float
    cpu_us: float


Windows = Mapping[str, Sequence[Window]]
"""The windows of each side, in the order of the rounds."""


def whole(shown: Shown, total: int) -> Window:
    """Watch a process from its first chunk to its last of ``total`` records."""
    with words_of(shown) as words:
        process = psutil.Process(shown.pid)
        started, ended, cpu = _watch(words, shown.cells, total, lambda: cpu_of(process))
    return Window(total / max(ended - started, TICK), cpu / total * 1e6)


def steady(shown: Shown, *, warm: float, seconds: float) -> Window:
    """Watch a process for ``seconds``, beginning ``warm`` seconds after its first record.

    The window begins and ends at moments when the count changed: workers write it in steps.
    """
    with words_of(shown) as words:
        process = psutil.Process(shown.pid)
        _change(words, process)
        time.sleep(warm)
        at, count, cpu = _change(words, process)
        time.sleep(seconds)
        at_end, count_end, cpu_end = _change(words, process)
    records = count_end - count
    return Window(records / (at_end - at), (cpu_end - cpu) / records * 1e6)


@contextmanager
def words_of(shown: Shown) -> Iterator["memoryview[int]"]:
    """Open a slot file as its words, once its writer has laid it out."""
    file = shown.file
    wait_for(
        lambda: file.exists() and file.stat().st_size >= size(shown.cells), f"no slot file {file.name}", every=TICK
    )
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory, memoryview(memory) as raw_bytes:
        even = len(raw_bytes) - len(raw_bytes) % 8
        with raw_bytes[:even] as part, part.cast("q") as words:
            wait_for(lambda: words[H_MAGIC] == MAGIC, "nobody writes the slot file", every=TICK)
            yield words


def cpu_of(process: psutil.Process) -> float:
    """Return the seconds of processor time that a process used so far."""
    times = process.cpu_times()
    return float(times.user) + float(times.system)


def median(windows: Sequence[Window]) -> int:
    """Return the median of records per second."""
    return round(statistics.median(window.per_s for window in windows))


def median_cpu(windows: Sequence[Window]) -> float:
    """Return the median of microseconds of processor time per record."""
    return round(statistics.median(window.cpu_us for window in windows), 2)


def ratio(ours: Sequence[Window], baseline: Sequence[Window], of: str = "per_s") -> float:
    """Return the median of the ratios within rounds."""
    pairs = zip(ours, baseline, strict=True)
    ratios: list[float] = [getattr(one, of) / getattr(other, of) for one, other in pairs]
    return round(statistics.median(ratios), 3)


def _watch(words: "memoryview[int]", cells: int, total: int, cpu: Callable[[], float]) -> tuple[float, float, float]:
    """Return when the first chunk was begun, when the last change was seen, and the processor time between."""
    sequences = [cell_base(cell) + C_SEQUENCE for cell in range(cells)]
    offsets = [cell_base(cell) + C_OFFSET for cell in range(cells)]
    deadline = time.monotonic() + LIMIT
    started = changed = cpu_started = 0.0
    seen = 0
    while True:
        now = time.monotonic()
        runs = sum(words[at] for at in sequences)
        if runs != seen or any(words[at] != IDLE for at in offsets):
            if not seen:
                started, cpu_started = now, cpu()
            seen, changed = runs, now
        elif words[H_SETTLED] >= total:
            return started, changed, cpu() - cpu_started
        if now > deadline:
            message = f"{words[H_SETTLED]:,} of {total:,} records done within {LIMIT:g} s"
            raise BenchError(message)
        time.sleep(TICK)


def _change(words: "memoryview[int]", process: psutil.Process) -> tuple[float, int, float]:
    """Wait for the count to change; return when it did, the new count, and the processor time used so far."""
    deadline = time.monotonic() + LIMIT
    before = words[H_SETTLED]
    while words[H_SETTLED] == before:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            message = "the process that is measured ended"
            raise BenchError(message)
        if time.monotonic() > deadline:
            message = f"no record done within {LIMIT:g} s, {before:,} before; was the topic too short?"
            raise BenchError(message)
        time.sleep(TICK)
    return time.monotonic(), words[H_SETTLED], cpu_of(process)
