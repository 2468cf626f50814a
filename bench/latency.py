"""From ``produce()`` to the handler at 100 records per second, against a loop over ``poll()`` written by hand.

Both consume all the time, each a topic of its own; one producer writes to them in turn, so that what disturbs the
machine at a moment meets both. Each record is alone: nothing else is on its way.
"""

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from confluent_kafka import Producer

from bench.handlers import LEDGER
from bench.sides import by_hand, group, working
from bench.stage import BenchError, Figures, Stage, progress, wait_for
from tests.broker.records import create_topic

PARTITIONS = 4
RATE = 100
"""Records per second and side."""
WARM = 1.0
RAW, OURS = "raw", "ours"

Delays = list[float]
"""Milliseconds from ``produce()`` to the handler, in the order of production."""


def run(stage: Stage) -> Figures:
    """Measure in stretches; ratios are within stretches."""
    return measure(stage, rounds=6, seconds=5.0) if stage.quick else measure(stage, rounds=12, seconds=15.0)


def measure(stage: Stage, *, rounds: int, seconds: float, warm: float = WARM) -> Figures:
    """Send ``rounds`` stretches of ``seconds`` and put medians, 99th percentiles and their ratios."""
    topics = {side: create_topic(stage.bootstrap, f"latency-{side}", partitions=PARTITIONS) for side in (RAW, OURS)}
    ledgers = {side: stage.folder / f"ledger-{side}" for side in topics}
    plain = group(stage, topics[OURS])
    ours = replace(plain, handler="bench.handlers:Delayed")
    theirs = replace(plain, name="by-hand", topics=(topics[RAW],))
    with (
        working(stage, ours, env={LEDGER: str(ledgers[OURS])}),
        by_hand(stage, "raw_poll.py", theirs, str(ledgers[RAW])),
    ):
        producer = Producer({"bootstrap.servers": stage.bootstrap, "linger.ms": 0, "log_level": 3})
        _until_read(producer, topics, ledgers)
        _send(producer, topics, warm)
        stretches = []
        for number in range(rounds):
            since = time.monotonic_ns()
            sent = _send(producer, topics, seconds)
            stretch = {side: _delays(ledger, since, sent) for side, ledger in ledgers.items()}
            stretches.append(stretch)
            texts = [f"{side} p50 {_p50(delays):.2f} p99 {_p99(delays):.2f} ms" for side, delays in stretch.items()]
            progress(f"stretch {number + 1}/{rounds}: {', '.join(texts)}")
    return _figures(stretches)


def _until_read(producer: Producer, topics: Mapping[str, str], ledgers: Mapping[str, Path]) -> None:
    """Write to both until both are read: they have joined."""

    def is_read() -> bool:
        _send(producer, topics, 0.1)
        return all(ledger.exists() and ledger.stat().st_size for ledger in ledgers.values())

    wait_for(is_read, "nobody reads")


def _send(producer: Producer, topics: Mapping[str, str], seconds: float) -> int:
    """Write to each topic ``RATE`` times per second for ``seconds``, in random order; return how often."""
    chance = random.Random(1)
    count = round(seconds * RATE)
    pause = 1 / RATE / len(topics)
    due = time.monotonic()
    for number in range(count):
        for side in chance.sample(list(topics), len(topics)):
            due += pause
            time.sleep(max(0.0, due - time.monotonic()))
            producer.produce(topics[side], b"%d" % time.monotonic_ns(), partition=number % PARTITIONS)
            producer.poll(0)
    if producer.flush(10):
        message = "the broker does not take the records"
        raise BenchError(message)
    return count


def _delays(ledger: Path, since: int, sent: int) -> Delays:
    """Wait until all records that were sent since then are noted, and return their delays."""

    def noted() -> Delays:
        lines = [line.split() for line in ledger.read_bytes().splitlines()]
        return [int(delay) / 1e6 for at, delay in lines if int(at) >= since]

    wait_for(lambda: len(noted()) >= sent, f"not all of {sent} records came", timeout=10)
    return noted()


def _p50(delays: Delays) -> float:
    return statistics.median(delays)


def _p99(delays: Delays) -> float:
    return statistics.quantiles(delays, n=100, method="inclusive")[98]


def _figures(stretches: Sequence[Mapping[str, Delays]]) -> Figures:
    together = {side: [delay for stretch in stretches for delay in stretch[side]] for side in stretches[0]}
    return {
        "p50_ratio": round(statistics.median(_p50(one[OURS]) / _p50(one[RAW]) for one in stretches), 3),
        "p99_ratio": round(statistics.median(_p99(one[OURS]) / _p99(one[RAW]) for one in stretches), 3),
        "p50_ms": {side: round(_p50(delays), 3) for side, delays in together.items()},
        "p99_ms": {side: round(_p99(delays), 3) for side, delays in together.items()},
        "max_ms": {side: round(max(delays), 1) for side, delays in together.items()},
        "records": len(together[OURS]),
        "rounds": len(stretches),
    }
