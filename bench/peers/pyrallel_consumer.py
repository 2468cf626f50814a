"""pyrallel-consumer: its asyncio engine, order by key."""

import asyncio

from pyrallel_consumer.config import ExecutionConfig, KafkaConfig, ParallelConsumerConfig
from pyrallel_consumer.consumer import PyrallelConsumer
from pyrallel_consumer.dto import ExecutionMode, OrderingMode

from bench.peers.task import begin


async def main() -> None:
    """Run until killed; in-flight limit: the concurrency when the handler sleeps, else the peer's own default."""
    task, tally = begin()
    words = tally.words
    execution = ExecutionConfig(mode=ExecutionMode.ASYNC)
    if task.variant == "limited":
        execution.max_in_flight = task.concurrency
    config = KafkaConfig(
        BOOTSTRAP_SERVERS=[task.bootstrap],
        CONSUMER_GROUP=task.group,
        dlq_enabled=False,
        parallel_consumer=ParallelConsumerConfig(ordering_mode=OrderingMode.KEY_HASH, execution=execution),
    )

    async def handle(_item: object) -> None:
        if task.sleep:
            await asyncio.sleep(task.sleep)
        words[0] += 1

    consumer = PyrallelConsumer(config, handle, task.topic)
    await consumer.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
