"""Handlers that wait: how near to the ceiling a worker comes with many records in flight, and at what cost.

Each record waits 5 ms. Threads are compared with a loop over ``ThreadPoolExecutor`` written by hand, coroutines with
a bare pool of asyncio tasks without Kafka, and with the ceiling that arithmetic sets.
"""

from collections.abc import Sequence
from dataclasses import replace

from bench.handlers import SLEEP
from bench.peers.catalog import IO, Peer
from bench.peers.runs import PeerRuns
from bench.sides import Side, by_hand, fill, group, in_turns, refusal, script, workers
from bench.stage import Figures, Stage, progress
from bench.windows import Windows, median, median_cpu, ratio, steady
from supervisor.core.spec import Ordering
from tests.broker.records import create_topic

PARTITIONS = 4
FEW, MANY = 32, 512
CEILING = MANY / SLEEP
"""Records per second that 512 in flight can reach at most."""


def run(stage: Stage) -> Figures:
    """Measure every side in windows of seconds."""
    peers = IO if stage.peers else ()
    if stage.quick:
        return measure(stage, total=400_000, rounds=2, seconds=1.5, peers=peers)
    return measure(stage, total=1_000_000, rounds=7, seconds=4.0, peers=peers)


def measure(
    stage: Stage, *, total: int, rounds: int, seconds: float, warm: float = 0.7, peers: Sequence[Peer] = ()
) -> Figures:
    """Measure every side once per round in windows of ``seconds``; ``total`` records must outlast the fastest."""
    topic = create_topic(stage.bootstrap, "io", partitions=PARTITIONS)
    progress(f"topic: writing {total:,} records")
    fill(stage.bootstrap, topic, total, partitions=PARTITIONS)
    runs = PeerRuns.prepare(stage, peers, topic=topic, total=total, warm=warm)
    plain = replace(group(stage, topic), ordering=Ordering.KEY)
    blocking = replace(plain, handler="bench.handlers:sleep")
    coroutine = replace(plain, handler="bench.handlers:sleep_async")
    sides: dict[str, Side] = {
        "raw_threads": lambda name: by_hand(stage, "raw_threads.py", replace(plain, name=name), str(FEW)),
        "threads": workers(stage, blocking, concurrency=FEW),
        "pool": lambda _: script(stage, "raw_pool.py", str(FEW)),
        "async": workers(stage, coroutine, concurrency=FEW),
        "pool512": lambda _: script(stage, "raw_pool.py", str(MANY)),
        "async512": workers(stage, coroutine, concurrency=MANY),
    }
    missing = refusal(stage, coroutine)
    if missing is not None:
        sides = {name: sides[name] for name in ("raw_threads", "threads")}
    windows = in_turns(sides, rounds, lambda shown: steady(shown, warm=warm, seconds=seconds), runs)
    beside = runs.figures(windows["raw_threads"])
    return {**_figures(windows), **beside, **({"missing": f"async: {missing}"} if missing else {})}


def _figures(windows: Windows) -> Figures:
    figures: Figures = {
        "thread_ratio": ratio(windows["threads"], windows["raw_threads"]),
        "cpu_ratio": ratio(windows["threads"], windows["raw_threads"], "cpu_us"),
    }
    if "async" in windows:
        figures |= {
            "async_ratio": ratio(windows["async"], windows["pool"]),
            "async512_ratio": round(median(windows["async512"]) / CEILING, 3),
            "async512_pool_ratio": ratio(windows["async512"], windows["pool512"]),
        }
    return figures | {
        "per_s": {side: median(measured) for side, measured in windows.items()},
        "cpu_us": {side: median_cpu(measured) for side, measured in windows.items()},
        "rounds": len(windows["threads"]),
    }
