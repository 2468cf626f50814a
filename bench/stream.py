"""The steady stream of records that groups work while their processes are killed or restarted."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer


@contextmanager
def producing(bootstrap: str, topic: str, partitions: int, *, rate: float) -> Iterator[None]:
    """Write to every partition, about ``rate`` records per second each, until the block ends."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 3})
    ended = threading.Event()

    def produce() -> None:
        for number in itertools.count():
            for partition in range(partitions):
                producer.produce(topic, str(number), partition=partition)
            producer.poll(0)
            if ended.wait(1 / rate):
                return

    thread = threading.Thread(target=produce, name="producer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(5)
        producer.flush(5)
