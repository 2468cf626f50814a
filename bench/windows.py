"""What one process did in a stretch of time: records per second, and processor time per record.

A measured process shows its progress in a slot file. One observer reads it about each millisecond, so that nothing
is measured in the way of a record, and both sides are seen with the same eyes.
"""

import mmap
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.stage import BenchError, wait_for
from supervisor.core.board import C_OFFSET, C_SEQUENCE, H_MAGIC, H_SETTLED, IDLE, MAGIC, cell_base, size

TICK = 0.001
LIMIT = 60.0
_CPUCLOCK_SCHED = 2


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
        started, ended, cpu = _watch(words, shown, total)
    return Window(total / max(ended - started, TICK), cpu / total * 1e6)


def steady(shown: Shown, *, warm: float, seconds: float) -> Window:
    """Watch a process for ``seconds``, beginning ``warm`` seconds after its first record."""
    return steady_together([shown], warm=warm, seconds=seconds)[0]


def steady_together(all_shown: Sequence[Shown], *, warm: float, seconds: float) -> list[Window]:
    """Watch several processes for the same ``seconds``, beginning ``warm`` seconds after everybody's first record.

    A window begins and ends at moments when its count changed: workers write it in steps.
    """
    with ExitStack() as stack:
        counts = [(one.pid, _settled(stack.enter_context(words_of(one)))) for one in all_shown]
        for pid, count in counts:
            if not count():
                next_change(count, pid)
        time.sleep(warm)
        begins = [next_change(count, pid) for pid, count in counts]
        time.sleep(seconds)
        ends = [next_change(count, pid) for pid, count in counts]
    return [between(begin, end) for begin, end in zip(begins, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Edge:
    """A moment when a count changed: when, to what, and the processor time used until then."""

    at: float
    count: int
    cpu: float


def between(begin: Edge, end: Edge) -> Window:
    """Return the window from one moment to another."""
    records = end.count - begin.count
    return Window(records / (end.at - begin.at), (end.cpu - begin.cpu) / records * 1e6)


def next_change(count: Callable[[], int], pid: int, *, every: float = TICK) -> Edge:
    """Wait until the count of a process, which is our child, changes."""
    deadline = time.monotonic() + LIMIT
    before = count()
    while True:
        at, now = time.monotonic(), count()
        if now != before:
            return Edge(at, now, cpu_of(pid))
        if at > deadline:
            message = f"nothing done within {LIMIT:g} s, {before:,} before; was the topic too short?"
            raise BenchError(message)
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            message = "the process that is measured ended"
            raise BenchError(message)
        time.sleep(every)


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


def cpu_of(pid: int) -> float:
    """Return the seconds of processor time that a process used so far, its ended threads included.

    The process' own clock, to the nanosecond (clock_getcpuclockid(3)); psutil's counts ticks of 10 ms.
    """
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


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


def _settled(words: "memoryview[int]") -> Callable[[], int]:
    return lambda: words[H_SETTLED]


def _watch(words: "memoryview[int]", shown: Shown, total: int) -> tuple[float, float, float]:
    """Return when the first chunk was begun, when the last change was seen, and the processor time between."""
    sequences = [cell_base(cell) + C_SEQUENCE for cell in range(shown.cells)]
    offsets = [cell_base(cell) + C_OFFSET for cell in range(shown.cells)]
    deadline = time.monotonic() + LIMIT
    started = changed = cpu_started = 0.0
    seen = 0
    while True:
        now = time.monotonic()
        runs = sum(words[at] for at in sequences)
        if runs != seen or any(words[at] != IDLE for at in offsets):
            if not seen:
                started, cpu_started = now, cpu_of(shown.pid)
            seen, changed = runs, now
        elif words[H_SETTLED] >= total:
            return started, changed, cpu_of(shown.pid) - cpu_started
        if now > deadline:
            message = f"{words[H_SETTLED]:,} of {total:,} records done within {LIMIT:g} s"
            raise BenchError(message)
        time.sleep(TICK)
