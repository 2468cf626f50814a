"""How much memory a worker takes while eight busy partitions pour in and its handlers are stuck.

Eight partitions get 1 MB per second each, in records of 10 kB, and every handler thread waits for ever. The process'
resident memory is sampled, and that of a second worker that starts in the middle, on a backlog. Both must stay under
what their bounds add up to:

    idle          measured: joined, nothing delivered
    + lanes       queue_bytes, and above that what one chunk brings
    + fetched     twice what librdkafka fetches ahead: the queue, and what is being purged or received meanwhile,
                  each queued.max.messages.kbytes and one answer above that (max.partition.fetch.bytes per partition,
                  fetch.max.bytes together)
    + per record  OVERHEAD for each record that lanes and a chunk may hold
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
from confluent_kafka import Producer

from bench.sides import group, settings, working, write
from bench.stage import BenchError, Figures, Stage, progress, wait_for
from bench.windows import LIMIT
from supervisor.core.spec import GroupSpec, Ordering
from supervisor.kafka.settings import Value
from supervisor.worker.pressure import CHUNK
from tests.broker.records import create_topic
from tests.worker.direct import DirectWorker

PARTITIONS = 8
RATE = 1_000_000
"""Bytes per second and partition."""
VALUE = b"x" * 10_000
THREADS = 8
OVERHEAD = 1_000
"""Bytes that a record takes beside its value: the message, its place in a lane, what tracks its offset."""
MB = 1e6
LOOK = 0.1
_KAFKA: dict[str, Value] = {
    "queued.max.messages.kbytes": 65536,
    "fetch.max.bytes": 52_428_800,
    "max.partition.fetch.bytes": 1_048_576,
}
"""librdkafka's defaults, where the group says nothing."""


def run(stage: Stage) -> Figures:
    """Pour for 25 s, or a minute."""
    return measure(stage, seconds=25.0 if stage.quick else 60.0)


def measure(stage: Stage, *, seconds: float, rate: int = RATE) -> Figures:
    """Pour for ``seconds`` and compare the highest resident memory with the bound."""
    topic = create_topic(stage.bootstrap, "memory", partitions=PARTITIONS)
    stuck = replace(group(stage, topic), ordering=Ordering.KEY, concurrency=THREADS, handler="bench.handlers:stick")
    late = replace(stuck, name="late")
    with working(stage, stuck) as worker:
        wait_for(lambda: len(worker.owned) == PARTITIONS, "the worker does not get its partitions")
        time.sleep(1.0)
        idle = psutil.Process(worker.process.pid).memory_info().rss
        with _pouring(stage.bootstrap, topic, rate) as poured:
            samples = _sampled(worker, seconds / 2)
            with working(stage, late) as second:
                backlog = _sampled(second, seconds / 2)
            samples += _sampled(worker, LOOK)
    bound = idle + _room(stage, stuck)
    return {
        "rss_peak_mb": _mb(max(samples)),
        "backlog_peak_mb": _mb(max(backlog)),
        "rss_end_mb": _mb(samples[-1]),
        "rss_idle_mb": _mb(idle),
        "bound_mb": _mb(bound),
        "within_bound": max(samples + backlog) <= bound,
        "poured_mb": _mb(sum(poured)),
        "seconds": seconds,
    }


def _sampled(worker: DirectWorker, seconds: float) -> list[int]:
    """Sample a worker's resident bytes for so long, and until its lanes are full."""
    process = psutil.Process(worker.process.pid)
    like = worker.spec.group
    samples: list[int] = []
    started = time.monotonic()
    while True:
        samples.append(process.memory_info().rss)
        time.sleep(LOOK)
        held, passed = worker.stats.get("queued_bytes", 0), time.monotonic() - started
        if passed >= seconds and held >= like.queue_bytes - 2 * len(VALUE):
            break
        if passed >= seconds + LIMIT:
            message = f"the lanes of {like.name!r} were never full: {held:,} of {like.queue_bytes:,} bytes"
            raise BenchError(message)
    second = round(1 / LOOK)
    peaks = [round(max(samples[at : at + second]) / MB) for at in range(0, len(samples), second)]
    progress(f"{like.name}: MB in each second: {peaks}")
    return samples


def _mb(size: int) -> float:
    return round(size / MB, 1)


@contextmanager
def _pouring(bootstrap: str, topic: str, rate: int) -> Iterator[list[int]]:
    """Write ``rate`` bytes per second to each partition until the block ends; the list gets how many bytes that was."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "log_level": 3})
    ended = threading.Event()
    poured: list[int] = []

    def pour() -> None:
        pause = len(VALUE) / rate
        due, number = time.monotonic(), 0
        while not ended.wait(max(0.0, due - time.monotonic())):
            write(producer, topic, range(number, number + PARTITIONS), partitions=PARTITIONS, value=VALUE)
            producer.poll(0)
            number += PARTITIONS
            due += pause
        poured.append(number * len(VALUE))

    thread = threading.Thread(target=pour, name="producer", daemon=True)
    thread.start()
    try:
        yield poured
    finally:
        ended.set()
        thread.join(5)
        producer.flush(5)


def _room(stage: Stage, like: GroupSpec) -> int:
    """Return the bytes above an idle worker that the group's bounds allow."""
    client = _KAFKA | settings(stage, like)
    queue, most, each = (int(client[key]) for key in _KAFKA)
    ahead = queue * 1024 + min(most, PARTITIONS * each)
    lanes = like.queue_bytes + min(ahead, CHUNK * len(VALUE))
    records = min(like.queue_records, math.ceil(lanes / len(VALUE))) + CHUNK
    return lanes + 2 * ahead + records * OVERHEAD
