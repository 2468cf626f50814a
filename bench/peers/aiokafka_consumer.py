"""aiokafka by hand: chunks of up to 500, a commit per second between chunks; with sleeps a chunk's records in tasks."""

import asyncio
import time
from typing import Any

from aiokafka import AIOKafkaConsumer

from bench.peers.task import Tally, Task, begin

CHUNK = 500


async def consume(task: Task, tally: Tally) -> None:
    """Work chunk after chunk; each is done before the next is asked for, so that no commit passes a record at work."""
    consumer = AIOKafkaConsumer(
        task.topic,
        bootstrap_servers=task.bootstrap,
        group_id=task.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    work = slowly if task.sleep else at_once
    committed_at = time.monotonic()
    while True:
        chunks = await consumer.getmany(timeout_ms=100, max_records=CHUNK)
        for records in chunks.values():
            await work(records, task, tally)
        if chunks and time.monotonic() - committed_at >= 1.0:
            committed_at = time.monotonic()
            await consumer.commit()


async def at_once(records: list[Any], _task: Task, tally: Tally) -> None:
    """Do nothing with each record."""
    words = tally.words
    for _ in records:
        words[0] += 1


async def slowly(records: list[Any], task: Task, tally: Tally) -> None:
    """Work the records of a chunk side by side, and wait for the last of them."""
    limit = asyncio.Semaphore(task.concurrency)

    async def one(_record: object) -> None:
        async with limit:
            await asyncio.sleep(task.sleep)
            tally.words[0] += 1

    await asyncio.gather(*map(one, records))


if __name__ == "__main__":
    asyncio.run(consume(*begin()))
