"""How cost grows with workers, partitions and records in flight: processor time per record, and memory.

Workers and partitions are measured with a handler that does nothing, and records that all become readable at one
moment, when everybody has joined: they are written in a transaction that is committed then. Records in flight are
measured at one rate, 1,000 per second: with ``n`` in flight each waits ``n`` milliseconds.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import psutil
from confluent_kafka import Producer

from bench.handlers import SECONDS
from bench.sides import fill, group, shown, working, write
from bench.stage import BenchError, Figures, Stage, progress, wait_for
from bench.windows import LIMIT, TICK, cpu_of, steady, words_of
from supervisor.core.board import H_SETTLED
from supervisor.core.spec import GroupSpec, Ordering
from tests.broker.records import create_topic
from tests.worker.direct import DirectWorker

WORKERS = (1, 4, 16)
PARTITIONS = (4, 64, 1024)
IN_FLIGHT = (1, 32, 512)
RATE = 1000
"""Records per second with records in flight."""
JOIN = 60.0


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: microseconds of processor time per record, and resident MB, all processes together."""

    cpu_us: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: records at full speed, seconds at the fixed rate, rounds."""

    total: int
    seconds: float
    rounds: int


def run(stage: Stage) -> Figures:
    """Measure every axis."""
    size = Size(240_000, 2.5, 1) if stage.quick else Size(1_000_000, 10.0, 3)
    return measure(stage, size, workers=WORKERS, partitions=PARTITIONS, in_flight=IN_FLIGHT)


def measure(
    stage: Stage, size: Size, *, workers: Sequence[int], partitions: Sequence[int], in_flight: Sequence[int]
) -> Figures:
    """Measure each axis from its smallest to its largest point, the others at rest."""
    most = max(workers)
    axes: dict[str, tuple[Sequence[int], Callable[[int], Point]]] = {
        "workers": (workers, lambda count: _at_once(stage, size.total, partitions=most, workers=count)),
        "partitions": (partitions, lambda count: _at_once(stage, size.total, partitions=count, workers=1)),
        "in_flight": (in_flight, lambda count: _in_flight(stage, size.seconds, count, "Sleeps")),
        "in_flight_async": (in_flight, lambda count: _in_flight(stage, size.seconds, count, "SleepsAsync")),
    }
    curves: dict[str, dict[int, Point]] = {}
    for axis, (counts, measured) in axes.items():
        points: dict[int, list[Point]] = {count: [] for count in counts}
        for _ in range(size.rounds):
            for count in counts:
                points[count].append(measured(count))
                last = points[count][-1]
                progress(f"{axis:16} {count:5}  {last.cpu_us:8.2f} us/record  {last.rss_mb:8.1f} MB")
        curves[axis] = {count: _median(some) for count, some in points.items()}
    return {
        "worst_growth": {axis: _growth(curve) for axis, curve in curves.items()},
        "cpu_us": {axis: {count: point.cpu_us for count, point in curve.items()} for axis, curve in curves.items()},
        "rss_mb": {axis: {count: point.rss_mb for count, point in curve.items()} for axis, curve in curves.items()},
        "records": size.total,
        "rounds": size.rounds,
    }


def _at_once(stage: Stage, total: int, *, partitions: int, workers: int) -> Point:
    """Let workers join, then let all records be read at one moment."""
    name = f"scaling-{partitions}-{workers}-{time.monotonic_ns()}"
    topic = create_topic(stage.bootstrap, name, partitions=partitions)
    producer = Producer(
        {
            "bootstrap.servers": stage.bootstrap,
            "transactional.id": name,
            "linger.ms": 20,
            "queue.buffering.max.kbytes": 1 << 18,
            "log_level": 3,
        }
    )
    producer.init_transactions(JOIN)
    producer.begin_transaction()
    write(producer, topic, range(total), partitions=partitions)
    producer.flush(JOIN)
    like = replace(group(stage, topic), name=name)
    with ExitStack() as stack:
        started = [stack.enter_context(working(stage, like, slot)) for slot in range(workers)]
        share = partitions // workers
        wait_for(lambda: all(len(one.owned) == share for one in started), "not all have joined", timeout=JOIN)
        words = [stack.enter_context(words_of(shown(one))) for one in started]
        before = _cpu(started)
        producer.commit_transaction(JOIN)
        wait_for(
            lambda: sum(one[H_SETTLED] for one in words) >= total, "not all were worked", timeout=LIMIT, every=TICK
        )
        return Point((_cpu(started) - before) / total * 1e6, _rss(started))


def _in_flight(stage: Stage, seconds: float, count: int, handler: str) -> Point:
    """Keep ``count`` records in flight at ``RATE``."""
    name = f"scaling-in-flight-{handler}-{count}-{time.monotonic_ns()}"
    topic = create_topic(stage.bootstrap, name, partitions=4)
    takes = count / RATE
    warm = max(1.0, 3 * takes)
    fill(stage.bootstrap, topic, math.ceil(RATE * (seconds + warm + 3)), partitions=4)
    like: GroupSpec = replace(
        group(stage, topic),
        name=name,
        ordering=Ordering.KEY,
        concurrency=count,
        handler=f"bench.handlers:{handler}",
    )
    with working(stage, like, env={SECONDS: str(takes)}) as worker:
        window = steady(shown(worker), warm=warm, seconds=seconds)
        if window.per_s < RATE * 0.7:
            message = f"{window.per_s:.0f} records per second with {count} in flight, not about {RATE}"
            raise BenchError(message)
        return Point(window.cpu_us, _rss([worker]))


def _cpu(workers: Sequence[DirectWorker]) -> float:
    return sum(cpu_of(psutil.Process(worker.process.pid)) for worker in workers)


def _rss(workers: Sequence[DirectWorker]) -> float:
    return sum(psutil.Process(worker.process.pid).memory_info().rss for worker in workers) / 1e6


def _median(points: Sequence[Point]) -> Point:
    return Point(
        round(statistics.median(point.cpu_us for point in points), 2),
        round(statistics.median(point.rss_mb for point in points), 1),
    )


def _growth(curve: dict[int, Point]) -> float:
    """Return the cost of a record at the largest point over that at the smallest."""
    return round(curve[max(curve)].cpu_us / curve[min(curve)].cpu_us, 2)
