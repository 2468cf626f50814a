"""The HTTP listener: ``/metrics``, ``/healthz``, ``/readyz``. Its failure is told, and stops nothing."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from aiohttp import web

from supervisor.core.addresses import format_address
from supervisor.core.events import Severity
from supervisor.core.jsonable import to_json
from supervisor.core.readiness import readiness
from supervisor.parent.metrics.rendering import wanted
from supervisor.parent.metrics.scraping import Scraping
from supervisor.parent.supervisor import Supervisor

DEADLINE = 10.0
"""Seconds that an answer may take."""
MOST_CONNECTIONS = 64
MOST_REQUESTS = 16
"""Requests that are answered at once; one more is refused."""
LIFE = 60.0
"""Seconds after which a connection is closed when its answer is out; scrapers open another."""
GRACE = 15.0
"""Seconds beyond its life after which a connection is closed whatever goes on in it."""
IDLE = 30.0
LISTEN = 5.0
"""Seconds that listening may take: a host's name may have to be looked up."""
AGAIN = 10.0
"""Seconds between two tries to listen."""
MOST_BODY = 1024
MOST_LINE = 4096
ACCEPTS = 16

Address = tuple[str, int]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)


class Duties(Protocol):
    """Who knows what the parent owes."""

    def late(self, *, now: float) -> str:
        """Say what the parent is late with, or nothing."""
        ...


class HttpListener:
    """Listens at an address, or nowhere. Bounded: connections, requests, their sizes, and all times."""

    def __init__(self, supervisor: Supervisor, scraping: Scraping, duties: Duties) -> None:
        self._loop = asyncio.get_running_loop()
        self._supervisor = supervisor
        self._scraping = scraping
        self._duties = duties
        self._address: Address | None = None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._began: dict[web.RequestHandler, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._tried_at = 0.0
        self._has_failed = False
        self._active = self._coming = 0

    @property
    def port(self) -> int | None:
        """Where it listens, while it does."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else None

    def start(self, address: Address | None) -> None:
        """Listen at ``address`` from now on, and nowhere else; returns at once, what cannot be is an event."""
        self._task = self._loop.create_task(self._move(address, self._task))

    def pulse(self) -> None:
        """Try again what failed; close what was open for long. About once a second."""
        now = self._loop.time()
        is_busy = self._task is not None and not self._task.done()
        if self._address is not None and self._server is None and not is_busy and now - self._tried_at >= AGAIN:
            self._task = self._loop.create_task(self._listen())
        open_now = set(self._connections())
        for protocol, began in list(self._began.items()):
            age = now - began
            if protocol not in open_now and age > 1.0:
                del self._began[protocol]
            elif age > LIFE + GRACE:
                protocol.force_close()
            elif age > LIFE:
                protocol.close()

    async def stop(self) -> None:
        """Answer what was asked, and close."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=LISTEN)
        await self._close()
        self._scraping.stop()

    async def _move(self, address: Address | None, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before}, timeout=LISTEN)
        await self._close()
        self._address, self._has_failed = address, False
        if address is not None:
            await self._listen()

    async def _listen(self) -> None:
        assert self._address is not None  # noqa: S101 - the caller looked
        host, port = self._address
        where, events = format_address(host, port), self._supervisor.events
        self._tried_at = self._loop.time()
        self._scraping.start()
        try:
            async with asyncio.timeout(LISTEN):
                if self._runner is None:
                    self._runner = await _set_up(self._application())
                self._server = await self._loop.create_server(self._accept, host, port, backlog=ACCEPTS)
        except (OSError, UnicodeError, TimeoutError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
            if not self._has_failed:
                help_ = "free the port, or write another [http] listen"
                text = f"nobody can listen at {where}: {reason}; tries again; help: {help_}"
                events.tell("http.unavailable", Severity.WARNING, text, fields={"address": where})
            self._has_failed = True
            return
        self._has_failed = False
        events.tell("http.listening", Severity.INFO, where, fields={"address": where})

    async def _close(self) -> None:
        server, self._server = self._server, None
        runner, self._runner = self._runner, None
        if server is not None:
            server.close()
        if runner is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runner.cleanup(), LISTEN)
        self._began.clear()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MOST_BODY, middlewares=[self._guard])
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        return application

    def _connections(self) -> list[web.RequestHandler]:
        server = self._runner.server if self._runner is not None else None
        return server.connections if server is not None else []

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) + self._coming >= MOST_CONNECTIONS:
            return _Refuse()
        protocol = server()
        self._coming += 1  # until it is among the connections: the loop calls it once before it calls us back
        self._loop.call_soon(self._loop.call_soon, self._came)
        self._began[protocol] = self._loop.time()
        return cast("asyncio.Protocol", protocol)

    def _came(self) -> None:
        self._coming -= 1

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Bound how many are answered and for how long; a bug in one answer must not end supervision."""
        if self._active >= MOST_REQUESTS:
            return web.Response(status=503, text="too many requests at once\n")
        self._active += 1
        try:
            async with asyncio.timeout(DEADLINE):
                return await handler(request)
        except TimeoutError:
            return web.Response(status=503, text=f"not answered within {DEADLINE:g} s\n")
        except web.HTTPException as error:
            text = f"{error.reason}; there are GET /metrics, /healthz and /readyz\n"
            return web.Response(status=error.status, text=text)
        except Exception:  # the border of a request
            logger.exception("http.failed", extra={"fields": {"path": request.path[:100]}})
            return web.Response(status=500, text="this failed inside the supervisor; its log has the traceback\n")
        finally:
            self._active -= 1

    async def _metrics(self, request: web.Request) -> web.Response:
        form = wanted(request.headers.get("Accept", ""))
        page = await self._scraping.page(form)
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=page.gzipped, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=page.plain, headers=headers)

    async def _healthz(self, _: web.Request) -> web.Response:
        late = self._duties.late(now=self._loop.time())
        return web.json_response({"healthy": not late, "text": late}, status=503 if late else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        groups = readiness(self._supervisor.snapshot())
        stopping = self._supervisor.stopping
        is_ready = not stopping and all(group.is_ready for group in groups)
        body = {"ready": is_ready, "stopping": stopping, "groups": to_json(groups)}
        return web.json_response(body, status=200 if is_ready else 503)


class _Refuse(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _set_up(application: web.Application) -> web.AppRunner:
    runner = web.AppRunner(
        application,
        handle_signals=False,
        access_log=None,
        shutdown_timeout=1.0,
        keepalive_timeout=IDLE,
        lingering_time=1.0,
        max_line_size=MOST_LINE,
        max_field_size=MOST_LINE,
    )
    await runner.setup()
    return runner
