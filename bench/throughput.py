"""How much of a hand-written loop's speed is left when a worker does the work, with a handler that does nothing.

Both run in a process of their own with the same client settings, on the same topic, and show their progress in a
slot file that one observer reads each millisecond: nothing is measured in the way of a record. A window begins
with the first chunk and ends when the last record is done.
"""

from collections.abc import Sequence
from dataclasses import replace

from bench.peers.catalog import THROUGHPUT, Peer
from bench.peers.runs import PeerRuns
from bench.sides import Side, by_hand, fill, group, in_turns, workers
from bench.stage import Figures, Stage, progress
from bench.windows import Windows, median, median_cpu, ratio, whole
from supervisor.core.spec import Ordering
from tests.broker.records import create_topic

PARTITIONS = 4
RAW = "raw"


def run(stage: Stage) -> Figures:
    """Measure every side; the quick form in windows of half a second, the full one of more than a second."""
    peers = THROUGHPUT if stage.peers else ()
    total, rounds = (800_000, 5) if stage.quick else (2_000_000, 9)
    return measure(stage, total=total, rounds=rounds, peers=peers)


def measure(stage: Stage, *, total: int, rounds: int, peers: Sequence[Peer] = ()) -> Figures:
    """Measure every side once per round, in an order drawn anew, and put medians and ratios within rounds."""
    topic = create_topic(stage.bootstrap, "throughput", partitions=PARTITIONS)
    progress(f"topic: writing {total:,} records")
    fill(stage.bootstrap, topic, total, partitions=PARTITIONS)
    runs = PeerRuns.prepare(stage, peers, topic=topic, total=total)
    plain = group(stage, topic)
    sides: dict[str, Side] = {
        RAW: lambda name: by_hand(stage, "raw_loop.py", replace(plain, name=name), str(total)),
        "ours": workers(stage, plain),
        "16": workers(stage, plain, concurrency=16),
        "key": workers(stage, plain, ordering=Ordering.KEY, concurrency=8),
        "batch": workers(stage, plain, handler="bench.handlers:process_batch"),
    }
    windows = in_turns(sides, rounds, lambda shown: whole(shown, total), runs)
    return _figures(windows, total) | runs.figures(windows[RAW])


def _figures(windows: Windows, total: int) -> Figures:
    raw = windows[RAW]
    return {
        "raw_per_s": median(raw),
        "ours_per_s": median(windows["ours"]),
        "ratio": ratio(windows["ours"], raw),
        "ratio16": ratio(windows["16"], raw),
        "key_ratio": ratio(windows["key"], raw),
        "batch_ratio": ratio(windows["batch"], raw),
        "per_s": {side: median(measured) for side, measured in windows.items()},
        "cpu_us": {side: median_cpu(measured) for side, measured in windows.items()},
        "records": total,
        "rounds": len(raw),
    }
