"""How much of a hand-written loop's speed is left when a worker does the work, with a handler that does nothing.

Both run in a process of their own with the same client settings, on the same topic, and show their progress in a
slot file that one observer reads each millisecond: nothing is measured in the way of a record. A window begins
with the first chunk and ends when the last record is done.
"""

import json
import mmap
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from confluent_kafka import Producer

from bench.stage import BenchError, Figures, Stage, progress, wait_for
from supervisor.config import group_spec, load, worker_spec
from supervisor.core.board import C_OFFSET, C_SEQUENCE, H_MAGIC, H_SETTLED, IDLE, MAGIC, cell_base, size
from supervisor.core.spec import GroupSpec, Mode, Ordering
from supervisor.kafka.settings import consumer_settings
from tests.broker.records import create_topic
from tests.worker.direct import DirectWorker

PARTITIONS = 4
KEYS = 5000
VALUE = b"x" * 40
TICK = 0.001
LIMIT = 60.0
RAW_LOOP = Path(__file__).parent / "raw_loop.py"
RAW = "raw"
CONFIG = "supervisor.toml"
_CONFIG = """
[supervisor]
name = "bench"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[groups.bench]
topics = ["{topic}"]
handler = "bench.handlers:process"
"""


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement: records per second, and processor time per record in microseconds."""

    per_s: float
    cpu_us: float


def run(stage: Stage) -> Figures:
    """Measure every side; the quick form in windows of half a second, the full one of more than a second."""
    return measure(stage, total=800_000, rounds=5) if stage.quick else measure(stage, total=2_000_000, rounds=9)


def measure(stage: Stage, *, total: int, rounds: int) -> Figures:
    """Measure every side once per round, in an order drawn anew, and put medians and ratios within rounds."""
    topic = create_topic(stage.bootstrap, "throughput", partitions=PARTITIONS)
    progress(f"topic: writing {total:,} records")
    _fill(stage.bootstrap, topic, total)
    plain = _plain_group(stage, topic)
    sides = {
        RAW: plain,
        "ours": plain,
        "16": replace(plain, concurrency=16),
        "key": replace(plain, ordering=Ordering.KEY, concurrency=8),
        "batch": replace(plain, handler="bench.handlers:process_batch"),
    }
    chance = random.Random(1)
    windows: dict[str, list[Window]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in chance.sample(list(sides), len(sides)):
            group = replace(sides[side], name=f"{side}-{number}")
            with (_raw if side == RAW else _worker)(stage, group, total) as (file, cells, process):
                windows[side].append(_measure(file, cells, process, total))
        texts = [f"{side} {windows[side][-1].per_s:,.0f}" for side in sides]
        progress(f"round {number + 1}/{rounds}: {', '.join(texts)} records/s")
    return _figures(windows, total)


def _figures(windows: dict[str, list[Window]], total: int) -> Figures:
    def per_s(side: str) -> int:
        return round(statistics.median(window.per_s for window in windows[side]))

    def ratio(side: str) -> float:
        pairs = zip(windows[side], windows[RAW], strict=True)
        return round(statistics.median(one.per_s / raw.per_s for one, raw in pairs), 3)

    return {
        "raw_per_s": per_s(RAW),
        "ours_per_s": per_s("ours"),
        "ratio": ratio("ours"),
        "ratio16": ratio("16"),
        "key_ratio": ratio("key"),
        "batch_ratio": ratio("batch"),
        "per_s": {side: per_s(side) for side in windows},
        "cpu_us": {
            side: round(statistics.median(window.cpu_us for window in measured), 2)
            for side, measured in windows.items()
        },
        "records": total,
        "rounds": len(windows[RAW]),
    }


Measured = tuple[Path, int, int]
"""The file to watch, its cells, and the process id."""


@contextmanager
def _worker(stage: Stage, group: GroupSpec, _total: int) -> Iterator[Measured]:
    """Start a real worker process as the parent does."""
    folder = stage.folder / group.name
    folder.mkdir()
    with DirectWorker(group, folder, env=stage.environment) as worker:
        yield worker.slot_file, group.concurrency, worker.process.pid


@contextmanager
def _raw(stage: Stage, group: GroupSpec, total: int) -> Iterator[Measured]:
    """Start the loop with the settings of the worker's consumer."""
    file = stage.folder / f"{group.name}.slot"
    spec = worker_spec(load(stage.folder / CONFIG), "bench", slot=0, incarnation=1, mode=Mode.WORK, parent_pid=0)
    settings = consumer_settings(replace(spec, group=group)) | {"enable.partition.eof": False, "log_level": 3}
    command = [sys.executable, "-P", str(RAW_LOOP), json.dumps(settings), group.topics[0], str(total), str(file)]
    process = subprocess.Popen(command, env=stage.environment)
    try:
        yield file, 1, process.pid
    finally:
        process.kill()
        process.wait(10)


def _measure(file: Path, cells: int, pid: int, total: int) -> Window:
    """Watch a process from its first chunk to its last record."""
    wait_for(lambda: file.exists() and file.stat().st_size >= size(cells), f"no slot file {file.name}", every=TICK)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory, memoryview(memory) as raw_bytes:
        whole = len(raw_bytes) - len(raw_bytes) % 8
        with raw_bytes[:whole] as even, even.cast("q") as words:
            wait_for(lambda: words[H_MAGIC] == MAGIC, "nobody writes the slot file", every=TICK)
            process = psutil.Process(pid)
            started, ended, cpu = _watch(words, cells, total, lambda: _cpu(process))
    return Window(total / max(ended - started, TICK), cpu / total * 1e6)


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


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _fill(bootstrap: str, topic: str, total: int) -> None:
    """Write small records; a key stays on its partition."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "batch.num.messages": 1000,
            "queue.buffering.max.kbytes": 1 << 18,
        }
    )
    for number in range(total):
        while True:
            try:
                producer.produce(topic, VALUE, b"k%06d" % (number % KEYS), number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(30):
        message = "the topic could not be written"
        raise BenchError(message)


def _plain_group(stage: Stage, topic: str) -> GroupSpec:
    """Return a group with all defaults."""
    file = stage.folder / CONFIG
    file.write_text(_CONFIG.format(bootstrap=stage.bootstrap, topic=topic))
    return group_spec(load(file), "bench")
