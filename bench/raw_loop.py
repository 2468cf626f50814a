"""The loop of a fast consumer written by hand: the baseline of ``throughput``.

``python raw_loop.py SETTINGS TOPIC RECORDS FILE``. It shows its progress in FILE, laid out as a slot file, as
a worker does: then one observer measures both.
"""

import json
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer

from bench.scoreboard import scoreboard
from supervisor.core.board import C_OFFSET, C_SEQUENCE, H_SETTLED, IDLE, cell_base

CHUNK = 500


def consume(consumer: Consumer, words: "memoryview[int]", total: int) -> None:
    """Consume ``total`` records: one store per chunk, one commit per second, without waiting for it."""
    base = cell_base(0)
    count = 0
    committed_at = time.monotonic()
    while count < total:
        # No more than there are: the call waits until it has as many as asked for.
        messages = consumer.consume(min(CHUNK, total - count), 0.1)
        if not messages:
            continue
        words[base + C_SEQUENCE] += 1
        words[base + C_OFFSET] = count
        for message in messages:
            if message.error() is None:
                count += 1
        consumer.store_offsets(message=messages[-1])
        words[H_SETTLED] = count
        words[base + C_OFFSET] = IDLE
        if time.monotonic() - committed_at >= 1.0:
            committed_at = time.monotonic()
            consumer.commit(asynchronous=True)


def main() -> None:
    """Consume, then stay until killed: an observer looks for the last change."""
    settings, topic, total, path = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    words = scoreboard(path)
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    consume(consumer, words, total)
    time.sleep(60)


if __name__ == "__main__":
    main()
