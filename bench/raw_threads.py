"""Records to a ``ThreadPoolExecutor`` as one writes it by hand, 5 ms each: the threaded baseline of ``io``.

``python raw_threads.py SETTINGS TOPIC THREADS FILE``. A semaphore bounds what is in flight. One store per chunk and
one commit per second, without regard to what is finished: a loop that loses records when it dies, which is the
fastest one can write.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore

from confluent_kafka import Consumer

from bench.handlers import sleep
from bench.scoreboard import scoreboard
from supervisor.core.board import H_SETTLED

CHUNK = 500


def main() -> None:
    """Consume until killed. What is shown is what was submitted: as many as finish, within the pool's size."""
    settings, topic, threads, path = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    words = scoreboard(path)
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    free = Semaphore(threads)

    def work(message: object) -> None:
        try:
            sleep(message)
        finally:
            free.release()

    committed_at = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        while True:
            messages = consumer.consume(CHUNK, 0.1)
            for message in messages:
                if message.error() is None:
                    free.acquire()
                    pool.submit(work, message)
                    words[H_SETTLED] += 1
            if messages:
                consumer.store_offsets(message=messages[-1])
            if time.monotonic() - committed_at >= 1.0:
                committed_at = time.monotonic()
                consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
