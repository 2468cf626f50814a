"""FastStream over confluent-kafka: one by one, acknowledged or not, in batches, or with ``max_workers``."""

import asyncio
import logging
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker

from bench.peers.task import Tally, Task, begin


def subscribe(broker: Any, task: Task, tally: Tally) -> None:  # noqa: ANN401 - a peer's own type
    """Register the handler of the variant that was asked for."""
    options: dict[str, Any] = {
        "group_id": task.group,
        "auto_offset_reset": "earliest",
        "auto_commit_interval_ms": 1000,
    }
    words = tally.words

    async def one(_body: bytes) -> None:
        words[0] += 1

    async def many(bodies: list[bytes]) -> None:
        for _ in bodies:
            words[0] += 1

    async def slowly(_body: bytes) -> None:
        await asyncio.sleep(task.sleep)
        words[0] += 1

    match task.variant:
        case "batch":
            broker.subscriber(task.topic, batch=True, max_records=500, **options)(many)
        case "ack":
            del options["auto_commit_interval_ms"]
            broker.subscriber(task.topic, ack_policy=AckPolicy.ACK, **options)(one)
        case "workers":
            broker.subscriber(task.topic, max_workers=task.concurrency, **options)(slowly)
        case _:
            broker.subscriber(task.topic, **options)(one)


async def main() -> None:
    """Run until killed."""
    task, tally = begin()
    broker = KafkaBroker(task.bootstrap, config=task.client, allow_auto_create_topics=False, log_level=logging.DEBUG)
    subscribe(broker, task, tally)
    await FastStream(broker).run(log_level=logging.WARNING)


if __name__ == "__main__":
    asyncio.run(main())
