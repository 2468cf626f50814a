"""What a worker fetches from the broker and throws away, while slow handlers make it hold back.

A worker that pauses partitions has librdkafka drop what it fetched ahead of ``poll``; after the resume that comes
again. How much depends on the room that is emptied between a pause and a resume (``queue_records``, ``queue_bytes``),
against what is fetched ahead meanwhile (``queued.max.messages.kbytes``, ``queued.min.messages``, ``fetch.max.bytes``).
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from bench.received import Received
from bench.sides import fill, group, working
from bench.stage import BenchError, Figures, Stage, progress, wait_for
from supervisor.core.spec import GroupSpec, Ordering
from tests.broker.records import create_topic
from tests.worker.direct import DirectWorker

PARTITIONS = 4
VALUE = b"x" * 1000
RECORD = len(VALUE) + len(b"k000000")
"""Bytes of a record that a handler can use; what the protocol adds counts against us."""
FULL = 0.9
LOOK = 0.05


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a worker does at once, and how many records it may hold."""

    threads: int
    queue_records: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What one report of a worker said: records settled or held, records held, bytes received; at a time."""

    at: float
    used: int
    held: int
    received: int


@dataclass(slots=True)
class Watched:
    """One worker and its samples so far, one per report (each second)."""

    worker: DirectWorker
    received: Received
    samples: list[Sample] = field(default_factory=list)
    reports: int = 0

    def look(self) -> None:
        """Take a sample when the worker has told its statistics again."""
        frames = self.worker.of_type("stats")
        if len(frames) == self.reports:
            return
        self.reports = len(frames)
        stats = frames[-1]["stats"]
        used, held = stats["settled"] + stats["queued"], stats["queued"]
        self.samples.append(Sample(time.monotonic(), used, held, self.received.total()))


def run(stage: Stage) -> Figures:
    """Watch long enough that lanes fill and empty several times."""
    seconds, total = (30.0, 60_000) if stage.quick else (120.0, 150_000)
    return measure(stage, total=total, seconds=seconds, default=Bounds(256, 10_000), small=Bounds(32, 500))


def measure(stage: Stage, *, total: int, seconds: float, default: Bounds, small: Bounds) -> Figures:
    """Let two workers with different bounds read the same topic for so long."""
    topic = create_topic(stage.bootstrap, "takeover", partitions=PARTITIONS)
    progress(f"topic: writing {total:,} records")
    fill(stage.bootstrap, topic, total, partitions=PARTITIONS, value=VALUE)
    plain = replace(group(stage, topic), ordering=Ordering.KEY, handler="bench.handlers:sleep_long")
    groups = [
        replace(plain, name=name, concurrency=bounds.threads, queue_records=bounds.queue_records)
        for name, bounds in (("default", default), ("small_queue", small))
    ]
    with ExitStack() as stack:
        watched = [_start(stage, one, stack) for one in groups]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for one in watched:
                one.look()
            time.sleep(LOOK)
    by_name = {one.name: summary(watcher.samples, one) for one, watcher in zip(groups, watched, strict=True)}
    return {
        "received_ratio": by_name["default"]["ratio"],
        "total_ratio": by_name["default"]["total_ratio"],
        "small_queue_ratio": by_name["small_queue"]["ratio"],
        **by_name,
    }


def _start(stage: Stage, like: GroupSpec, stack: ExitStack) -> Watched:
    worker = stack.enter_context(working(stage, like))
    wait_for(lambda: worker.owned, "the worker gets no partitions")
    return Watched(worker, Received(worker.process.pid))


def summary(samples: Sequence[Sample], like: GroupSpec) -> dict[str, object]:
    """Put received against used: between the first and the last moment of full lanes, and from the start on."""
    full = [sample for sample in samples if sample.held >= like.queue_records * FULL]
    if not full or full[-1].used - full[0].used < like.queue_records // 2:
        most = max((sample.held for sample in samples), default=0)
        message = f"the lanes of {like.name!r} were not filled twice: at most {most} of {like.queue_records} held"
        raise BenchError(message)
    first, last = full[0], full[-1]
    progress(f"{like.name}: {[(sample.held, sample.received // 1_000_000) for sample in samples]} held, MB received")
    return {
        "ratio": round((last.received - first.received) / (last.used - first.used) / RECORD, 2),
        "total_ratio": round(samples[-1].received / samples[-1].used / RECORD, 2),
        "received_mb": round(last.received / 1e6, 1),
        "used_mb": round(last.used * RECORD / 1e6, 1),
        "seconds": round(last.at - first.at, 1),
        "threads": like.concurrency,
        "queue_records": like.queue_records,
    }
