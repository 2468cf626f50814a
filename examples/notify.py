"""An async handler: hundreds of orders wait for another service at once, over one pool of connections.

[groups.notify]
topics = ["orders"]
handler = "examples.notify:Notify"
ordering = "key"
concurrency = 200
handler_timeout = "30s"
"""

import os

import aiohttp

from supervisor.plugin import Record


class NotAnOrderError(Exception):
    """The service will never take this record, however often it is sent."""


class Notify:
    async def open(self) -> None:
        # Made here, on the handler's event loop, once per worker.
        self.session = aiohttp.ClientSession(os.environ["NOTIFY_URL"], timeout=aiohttp.ClientTimeout(total=10))

    async def process(self, record: Record) -> None:
        # The same record may come again after a crash: its coordinates let the service know it.
        name = f"{record.topic}/{record.partition}/{record.offset}"
        async with self.session.post("/orders", data=record.value, headers={"Idempotency-Key": name}) as answer:
            if answer.status in {400, 422}:
                raise NotAnOrderError(name)
            answer.raise_for_status()  # anything else is tried again, as [retry] says

    async def close(self) -> None:
        await self.session.close()
