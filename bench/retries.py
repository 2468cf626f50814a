"""What a few failing records cost the others: one in a hundred fails once, against none failing.

Once with a handler that waits 5 ms in 32 threads and the default retry table, once with a handler that does nothing
and retries without a wait. Both by key, and both handlers ask the same question of each record.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench.sides import Side, fill, group, in_turns, shown, workers, working
from bench.stage import Figures, Stage, progress, wait_for
from bench.windows import Shown, median, median_cpu, ratio, steady, whole
from supervisor.core.spec import GroupSpec, Ordering
from tests.broker.records import create_topic

PARTITIONS = 4
AT_ONCE = """
[groups.bench.retry]
initial = "0s"
"""


def run(stage: Stage) -> Figures:
    """Measure every side; the quick form in windows of about a second."""
    if stage.quick:
        return measure(stage, total=500_000, rounds=3, seconds=1.5)
    return measure(stage, total=2_000_000, rounds=9, seconds=5.0)


def measure(stage: Stage, *, total: int, rounds: int, seconds: float, warm: float = 0.7) -> Figures:
    """Measure waiting handlers for ``seconds``, and the others until they did all of ``total``."""
    topic = create_topic(stage.bootstrap, "retries", partitions=PARTITIONS)
    progress(f"topic: writing {total:,} records")
    fill(stage.bootstrap, topic, total, partitions=PARTITIONS)
    waiting = replace(group(stage, topic), ordering=Ordering.KEY, concurrency=32)
    quick = replace(group(stage, topic, AT_ONCE), ordering=Ordering.KEY, concurrency=8)
    slow: dict[str, Side] = {
        "wait": workers(stage, waiting, handler="bench.handlers:sleep_all_well"),
        "wait_failing": _failing(stage, replace(waiting, handler="bench.handlers:sleep_some_fail")),
    }
    fast: dict[str, Side] = {
        "noop": workers(stage, quick, handler="bench.handlers:all_well"),
        "noop_failing": _failing(stage, replace(quick, handler="bench.handlers:some_fail")),
    }
    windows = in_turns(slow, rounds, lambda one: steady(one, warm=warm, seconds=seconds))
    windows |= in_turns(fast, rounds, lambda one: whole(one, total))
    return {
        "ratio": ratio(windows["wait_failing"], windows["wait"]),
        "noop_ratio": ratio(windows["noop_failing"], windows["noop"]),
        "per_s": {side: median(measured) for side, measured in windows.items()},
        "cpu_us": {side: median_cpu(measured) for side, measured in windows.items()},
        "records": total,
        "rounds": rounds,
    }


def _failing(stage: Stage, like: GroupSpec) -> Side:
    """Return a side that counts for nothing unless records failed."""

    @contextmanager
    def start(name: str) -> Iterator[Shown]:
        with working(stage, replace(like, name=name)) as worker:
            yield shown(worker)
            wait_for(lambda: worker.stats.get("failed_attempts"), "no record failed")

    return start
