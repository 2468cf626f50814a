"""How cost grows with workers, partitions and records in flight: processor time per record, and memory.

Workers and partitions are measured with a handler that does nothing, and records that all become readable at one
moment, when everybody has joined: they are written in a transaction that is committed then. Records in flight are
measured at one rate, 1,000 per second: with ``n`` in flight each waits ``n`` milliseconds. Partitions are measured
with a loop written by hand, too, since more of them cost the client more.
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
from bench.sides import by_hand, fill, group, refusal, shown, working, write
from bench.stage import BenchError, Figures, Stage, progress, wait_for
from bench.windows import LIMIT, TICK, cpu_of, steady_together, whole, words_of
from supervisor.core.board import H_SETTLED
from supervisor.core.spec import Ordering
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


Curve = dict[int, Point]
"""The points of an axis, smallest first."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: records per worker at full speed, for one worker, seconds at the fixed rate, rounds."""

    each: int
    total: int
    seconds: float
    rounds: int


def run(stage: Stage) -> Figures:
    """Measure every axis."""
    size = Size(30_000, 240_000, 2.0, 1) if stage.quick else Size(250_000, 1_000_000, 10.0, 3)
    return measure(stage, size, workers=WORKERS, partitions=PARTITIONS, in_flight=IN_FLIGHT)


def measure(
    stage: Stage, size: Size, *, workers: Sequence[int], partitions: Sequence[int], in_flight: Sequence[int]
) -> Figures:
    """Measure each axis from its smallest to its largest point, the others at rest."""
    most = max(workers)
    axes: dict[str, Callable[[], Curve]] = {
        "workers": lambda: {n: _at_once(stage, size.each * n, partitions=most, workers=n) for n in workers},
        "partitions": lambda: {n: _at_once(stage, size.total, partitions=n, workers=1) for n in partitions},
        "partitions_raw": lambda: {n: _by_hand(stage, size.total, n) for n in partitions},
        "in_flight": lambda: _in_flight(stage, size.seconds, in_flight, "Sleeps"),
        "in_flight_async": lambda: _in_flight(stage, size.seconds, in_flight, "SleepsAsync"),
    }
    missing = refusal(stage, replace(group(stage, "nothing"), handler="bench.handlers:sleep_async"))
    if missing is not None:
        del axes["in_flight_async"]
    curves: dict[str, Curve] = {}
    for axis, measured in axes.items():
        curve = curves[axis] = _median_curve([measured() for _ in range(size.rounds)])
        for count, point in curve.items():
            progress(f"{axis:16} {count:5}  {point.cpu_us:8.2f} us/record  {point.rss_mb:8.1f} MB")
    return {
        "worst_growth": {axis: _growth(curve) for axis, curve in curves.items()},
        "cpu_us": {axis: {count: point.cpu_us for count, point in curve.items()} for axis, curve in curves.items()},
        "rss_mb": {axis: {count: point.rss_mb for count, point in curve.items()} for axis, curve in curves.items()},
        "records": {"workers": size.each, "partitions": size.total},
        "rounds": size.rounds,
        **({"missing": f"async: {missing}"} if missing else {}),
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


def _by_hand(stage: Stage, total: int, partitions: int) -> Point:
    """Let a loop written by hand read as many partitions: what of the growth is the client's."""
    topic = create_topic(stage.bootstrap, f"by-hand-{partitions}-{time.monotonic_ns()}", partitions=partitions)
    fill(stage.bootstrap, topic, total, partitions=partitions)
    with by_hand(stage, "raw_loop.py", replace(group(stage, topic), name=topic), str(total)) as one:
        window = whole(one, total)
        return Point(window.cpu_us, psutil.Process(one.pid).memory_info().rss / 1e6)


def _in_flight(stage: Stage, seconds: float, counts: Sequence[int], handler: str) -> Curve:
    """Keep so many records in flight at ``RATE``, each number in a worker of its own, all at once."""
    topic = create_topic(stage.bootstrap, f"{handler}-{time.monotonic_ns()}", partitions=4)
    takes = {count: count / RATE for count in counts}
    warm = 1 + 2 * max(takes.values())
    fill(stage.bootstrap, topic, math.ceil(RATE * (seconds + warm + JOIN / 4)), partitions=4)
    like = replace(group(stage, topic), ordering=Ordering.KEY, handler=f"bench.handlers:{handler}")
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                working(
                    stage, replace(like, name=f"{topic}-{count}", concurrency=count), env={SECONDS: str(seconds_of)}
                )
            )
            for count, seconds_of in takes.items()
        ]
        windows = steady_together([shown(one) for one in started], warm=warm, seconds=seconds)
        for count, window in zip(counts, windows, strict=True):
            if window.per_s < RATE * 0.3:
                message = f"{window.per_s:.0f} records per second with {count} in flight, far from {RATE}"
                raise BenchError(message)
        return {
            count: Point(window.cpu_us, _rss([one]))
            for count, window, one in zip(counts, windows, started, strict=True)
        }


def _cpu(workers: Sequence[DirectWorker]) -> float:
    return sum(cpu_of(worker.process.pid) for worker in workers)


def _rss(workers: Sequence[DirectWorker]) -> float:
    return sum(psutil.Process(worker.process.pid).memory_info().rss for worker in workers) / 1e6


def _median_curve(rounds: Sequence[Curve]) -> Curve:
    return {
        count: Point(
            round(statistics.median(curve[count].cpu_us for curve in rounds), 2),
            round(statistics.median(curve[count].rss_mb for curve in rounds), 1),
        )
        for count in rounds[0]
    }


def _growth(curve: Curve) -> float:
    """Return the cost of a record at the largest point over that at the smallest."""
    return round(curve[max(curve)].cpu_us / curve[min(curve)].cpu_us, 2)
