"""A Schema Registry for tests: as much of its REST API as confluent-kafka's serializers use, in a thread."""

import asyncio
import json
import threading
from types import TracebackType
from typing import Any, Self

from aiohttp import web

UNKNOWN_SCHEMA = 40403
UNKNOWN_SUBJECT = 40401


class SchemaRegistry:
    """Use as a context manager. ``refuse`` is a status that all questions get; ``asked`` their paths."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.refuse: int | None = None
        self.nonsense = False
        """Whether answers are a web page, as of a proxy that has lost its way."""
        self.patience = 0.0
        """Seconds that each answer takes."""
        self._schemas: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="schema-registry")
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _open(self) -> None:
        app = web.Application(middlewares=[self._gate])
        app.router.add_post("/subjects/{subject}/versions", self._register)
        app.router.add_get("/schemas/ids/{id}", self._get)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        await asyncio.sleep(self.patience)
        if self.refuse is not None:
            return _error(self.refuse, self.refuse, "refused")
        if self.nonsense:
            return web.Response(text="<html>welcome</html>", content_type="text/html")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _register(self, request: web.Request) -> web.Response:
        schema = json.loads(await request.text())
        if schema not in self._schemas:
            self._schemas.append(schema)
        return web.json_response({"id": self._schemas.index(schema) + 1})

    async def _get(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        if not 0 < number <= len(self._schemas):
            return _error(404, UNKNOWN_SCHEMA, "Schema not found")
        return web.json_response(self._schemas[number - 1])


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"error_code": code, "message": message}, status=status)
