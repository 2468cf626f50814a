"""What exactly-once costs: one output per record in transactions of 100 ms, against the same at least once.

Both sides have all defaults but order by key and 8 threads; their handler returns one ``Produce`` per record. What
counts is outputs that a consumer with ``read_committed`` could read: the last stable offsets of the output topic.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from bench.handlers import OUTPUT
from bench.sides import Side, fill, group, in_turns, shown, working
from bench.stage import Figures, Stage, progress
from bench.windows import Shown, Window, between, median, median_cpu, next_change, ratio
from supervisor.core.spec import GroupSpec, Ordering
from tests.broker.records import create_topic, end_offsets

PARTITIONS = 4
LOOK = 0.005


def run(stage: Stage) -> Figures:
    """Measure both sides in turns."""
    if stage.quick:
        return measure(stage, total=800_000, rounds=3, seconds=2.0)
    return measure(stage, total=2_000_000, rounds=9, seconds=5.0)


def measure(stage: Stage, *, total: int, rounds: int, seconds: float, warm: float = 0.5) -> Figures:
    """Measure windows of ``seconds``; ``total`` records must outlast them."""
    topic = create_topic(stage.bootstrap, "exactly-once", partitions=PARTITIONS)
    sides = {delivery: _side(stage, topic, delivery) for delivery in ("at-least-once", "exactly-once")}
    progress(f"topic: writing {total:,} records")
    fill(stage.bootstrap, topic, total, partitions=PARTITIONS)
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    windows = in_turns(sides, rounds, lambda one: _window(admin, one, warm=warm, seconds=seconds))
    return {
        "ratio": ratio(windows["exactly-once"], windows["at-least-once"]),
        "per_s": {side: median(measured) for side, measured in windows.items()},
        "cpu_us": {side: median_cpu(measured) for side, measured in windows.items()},
        "rounds": rounds,
    }


def _side(stage: Stage, topic: str, delivery: str) -> Side:
    like: GroupSpec = replace(
        group(stage, topic, f'delivery = "{delivery}"\n'),
        ordering=Ordering.KEY,
        concurrency=8,
        handler="bench.handlers:Produces",
    )

    @contextmanager
    def start(name: str) -> Iterator[Shown]:
        output = create_topic(stage.bootstrap, f"output-{name}", partitions=PARTITIONS)
        end_offsets(stage.bootstrap, output)  # waits until leaders know of it
        with working(stage, replace(like, name=name), env={OUTPUT: output}) as worker:
            yield replace(shown(worker), output=output)

    return start


def _window(admin: AdminClient, one: Shown, *, warm: float, seconds: float) -> Window:
    """Watch the output topic for ``seconds``, between two moments when something became readable."""

    def readable() -> int:
        return _readable(admin, one.output)

    next_change(readable, one.pid, every=LOOK)
    time.sleep(warm)
    begin = next_change(readable, one.pid, every=LOOK)
    time.sleep(seconds)
    return between(begin, next_change(readable, one.pid, every=LOOK))


def _readable(admin: AdminClient, topic: str) -> int:
    """Return how many offsets of a topic lie below its last stable ones; markers of transactions count, too."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, partition): latest for partition in range(PARTITIONS)}
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
    return sum(future.result(10).offset for future in answers.values())
