"""A ``poll()`` loop as one writes it by hand: the baseline of ``latency``.

``python raw_poll.py SETTINGS TOPIC LEDGER FILE``.
"""

import json
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer

from bench.handlers import note_delay, open_ledger
from bench.scoreboard import scoreboard
from supervisor.core.board import H_SETTLED


def main() -> None:
    """Consume until killed."""
    settings, topic, ledger, path = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    words = scoreboard(path)
    file = open_ledger(ledger)
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    committed_at = time.monotonic()
    while True:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            note_delay(file, message.value() or b"")
            consumer.store_offsets(message=message)
            words[H_SETTLED] += 1
        if time.monotonic() - committed_at >= 1.0:
            committed_at = time.monotonic()
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
