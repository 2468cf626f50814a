"""Long-lived asyncio tasks that pull from a counter and sleep 5 ms, without Kafka: the asyncio baseline of ``io``.

``python raw_pool.py TASKS FILE``. Nothing that runs Python coroutines on one event loop is quicker.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from bench.handlers import sleep_async
from bench.scoreboard import scoreboard
from supervisor.core.board import H_SETTLED


async def pool(tasks: int, words: "memoryview[int]") -> None:
    """Run the tasks for ever."""
    numbers = itertools.count()

    async def pull() -> None:
        for number in numbers:
            await sleep_async(number)
            words[H_SETTLED] += 1

    await asyncio.gather(*(pull() for _ in range(tasks)))


if __name__ == "__main__":
    asyncio.run(pool(int(sys.argv[1]), scoreboard(Path(sys.argv[2]))))
