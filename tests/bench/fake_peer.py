"""A peer for tests, of nothing but confluent-kafka. Its variants: well, dies (after some records), idle (never any)."""

import sys
import time

from confluent_kafka import Consumer

from bench.peers.task import begin

BEFORE_DEATH = 50


def main() -> None:
    task, tally = begin()
    consumer = Consumer({"bootstrap.servers": task.bootstrap, "group.id": task.group, "auto.offset.reset": "earliest"})
    consumer.subscribe([task.topic])
    while True:
        message = consumer.poll(0.1)
        if message is None or message.error() is not None or task.variant == "idle":
            continue
        time.sleep(task.sleep)
        tally.words[0] += 1
        if task.variant == "dies" and tally.words[0] == BEFORE_DEATH:
            sys.exit("the dependency at https://user:secret@index.example/simple is gone")


if __name__ == "__main__":
    main()
