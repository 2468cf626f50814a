"""The control API: HTTP and JSON on a Unix socket, in the parent's loop.

A fixed table of verbs with typed arguments; nothing here runs a command, imports a module or reads a file.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from supervisor.control.answers import Refusal
from supervisor.control.requests import Events, Hold, Offsets, Restart, Resume, Start, Stop
from supervisor.control.targets import UnknownTargetError, resolve
from supervisor.core import slot as slots
from supervisor.core.event_query import EventQuery
from supervisor.core.events import Severity
from supervisor.core.jsonable import to_json
from supervisor.parent.api.alert_api import AlertApi
from supervisor.parent.api.answering import PEER, accepted, answer, audit, body_of, refusal, unprocessable
from supervisor.parent.api.operator_api import OperatorApi
from supervisor.parent.api.peer import Peer, peer_of
from supervisor.parent.running.offsets import BusyError, OffsetJobs
from supervisor.parent.running.places import UnsafePlaceError, make_private
from supervisor.parent.store.journal import Journal
from supervisor.parent.supervisor import Supervisor

MAX_BODY = 64 * 1024
DEADLINE = 5.0
BACKLOG = 64

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
READS = ("status", "events", "journal", "operation", "offsets", "alerts", "dlq", "dlq_lines")
ACTS = (
    *("stop", "start", "restart", "hold", "resume", "pause", "scale", "reload", "drain", "dump", "offsets"),
    *("silence", "unsilence", "dlq", "stop_dlq"),
)


def bind(path: Path) -> socket.socket:
    """Return a listening socket at ``path`` whose mode is 0600 from the moment it exists.

    Only for who holds the parent lock: a socket file that is there already belongs to a dead supervisor.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


class ControlServer:
    """Answers one supervisor's control socket from ``start`` to ``stop``."""

    def __init__(
        self,
        supervisor: Supervisor,
        journal: Journal,
        path: Path,
        *,
        operator: OperatorApi,
        offsets: OffsetJobs,
        alerts: AlertApi,
    ) -> None:
        self._supervisor = supervisor
        self._journal = journal
        self._operator = operator
        self._offsets = offsets
        self._path = path
        self._site: web.SockSite | None = None
        self._again: asyncio.Task[None] | None = None
        application = web.Application(client_max_size=MAX_BODY, middlewares=[guard])
        application.router.add_get("/v1/status", self._status)
        application.router.add_get("/v1/events", self._events)
        application.router.add_get("/v1/journal", self._past)
        application.router.add_post("/v1/stop", self._stop)
        application.router.add_post("/v1/start", self._start)
        application.router.add_post("/v1/restart", self._restart)
        application.router.add_post("/v1/hold", self._hold)
        application.router.add_post("/v1/resume", self._resume)
        operator.add_to(application)
        alerts.add_to(application)
        application.router.add_post("/v1/offsets", self._begin_offsets)
        application.router.add_get("/v1/offsets", self._offsets_job)
        self._runner = web.AppRunner(
            application,
            handle_signals=False,
            access_log=None,
            shutdown_timeout=1.0,
            keepalive_timeout=DEADLINE,
            lingering_time=1.0,
        )

    async def start(self) -> None:
        """Listen; raises ``OSError`` when the socket cannot be made."""
        await self._runner.setup()
        self._site = await self._listen()

    def keep(self) -> None:
        """Listen anew when somebody deleted the socket, or its folder; about once a second.

        Cleaners of /dev/shm and /tmp do, as does logind at its user's last logout (``RemoveIPC=``). One that is there
        and not ours belongs to a supervisor that was started since: it is left alone.
        """
        is_busy = self._again is not None and not self._again.done()
        if self._site is not None and not is_busy and not self._path.exists():
            self._again = asyncio.create_task(self._listen_again(self._site))

    async def _listen(self) -> web.SockSite:
        listener = bind(self._path)
        # asyncio accepts ``backlog`` connections in a row, and goes on with as many failures when none can be taken.
        site = web.SockSite(self._runner, listener, backlog=1)
        await site.start()
        listener.listen(BACKLOG)
        return site

    async def _listen_again(self, old: web.SockSite) -> None:
        try:
            make_private(self._path.parent)
            self._site = await self._listen()
        except (OSError, UnsafePlaceError) as error:
            logger.warning("control.socket_lost", extra={"fields": {"file": str(self._path), "error": str(error)}})
            return
        await old.stop()
        text = f"{self._path} was deleted by somebody; it is there again"
        self._supervisor.events.tell("control.socket_restored", Severity.WARNING, text)

    async def stop(self) -> None:
        """Answer what was asked, close, and remove the socket."""
        self._site = None
        if self._again is not None:
            await asyncio.wait({self._again}, timeout=DEADLINE)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), DEADLINE)
        self._path.unlink(missing_ok=True)

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(to_json(self._supervisor.snapshot()))

    async def _events(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        if not (since.isascii() and since.isdigit() and len(since) < 16):  # noqa: PLR2004 - a number's digits
            raise refusal(web.HTTPBadRequest, "since is no number", "write the seq of the last event you have seen")
        return web.json_response(to_json(self._supervisor.events.since(int(since))))

    async def _past(self, request: web.Request) -> web.Response:
        try:
            asked = Events.model_validate(dict(request.query))
        except ValidationError as error:
            raise unprocessable(error, Events) from error
        return web.json_response(to_json(await self._journal.page(EventQuery(**dict(asked)))))

    async def _stop(self, request: web.Request) -> web.Response:
        body = await body_of(request, Stop)
        if body.target is None:
            audit(self._supervisor.events, request, "stop", None)
            self._supervisor.stop(f"asked by uid {request[PEER].uid}", end=body.end)
            return accepted("the supervisor stops", ())
        return self._act(request, "stop", body.target, event=slots.Stop(body.end))

    async def _start(self, request: web.Request) -> web.Response:
        return self._act(request, "start", (await body_of(request, Start)).target, event=slots.Start())

    async def _restart(self, request: web.Request) -> web.Response:
        body = await body_of(request, Restart)
        if body.rolling:
            return self._operator.restart(request, body.target)
        return self._act(request, "restart", body.target, event=slots.Restart())

    async def _hold(self, request: web.Request) -> web.Response:
        return self._act(request, "hold", (await body_of(request, Hold)).target, event=slots.Hold())

    async def _resume(self, request: web.Request) -> web.Response:
        body = await body_of(request, Resume)
        if body.to is None:
            return self._operator.unpause(request, body)
        if body.target not in self._supervisor.groups:
            groups = ", ".join(self._supervisor.groups)
            raise refusal(web.HTTPNotFound, f"no group is called {body.target!r}", f"groups: {groups}")
        stopped = {
            (slot, place): f"{place[0]}/{place[1]}"
            for slot, runner in enumerate(self._supervisor.slots(body.target))
            for place in runner.stopped_partitions()
        }
        wanted = {at for at, name in stopped.items() if body.partition in (None, name)}
        if not wanted:
            here = ", ".join(sorted(set(stopped.values()))) or "none; other hosts may own some"
            what = "no partition is" if body.partition is None else f"{body.partition} is not"
            raise refusal(web.HTTPConflict, f"{what} stopped in group {body.target} here", f"stopped here: {here}")
        audit(self._supervisor.events, request, "resume", f"{body.target} {body.partition or '*'} to {body.to}")
        for slot in {slot for slot, _ in wanted}:
            places = [place for at, place in wanted if at == slot]
            self._supervisor.runners[body.target, slot].resume(places, body.to)
        return accepted(f"resume {body.target}", tuple(sorted({stopped[at] for at in wanted})))

    async def _begin_offsets(self, request: web.Request) -> web.Response:
        body = await body_of(request, Offsets)
        if body.group not in self._supervisor.groups:
            groups = ", ".join(self._supervisor.groups)
            raise refusal(web.HTTPNotFound, f"no group is called {body.group!r}", f"groups: {groups}")
        if body.apply and body.to is None:
            raise refusal(web.HTTPUnprocessableEntity, "a reset needs to know where to", 'to: "earliest", ...')
        if self._supervisor.stopping:
            raise refusal(web.HTTPConflict, "the supervisor is stopping", "wait until it is gone")
        try:
            job = self._offsets.begin(body)
        except BusyError as error:
            raise refusal(web.HTTPConflict, str(error), f"wait until it is done: offsets show {body.group}") from error
        if body.apply:
            target = f"{body.group} {' '.join(body.partitions) or '*'} to {body.to}"
            audit(self._supervisor.events, request, "offsets reset", target)
        return web.json_response(to_json(job), status=202)

    async def _offsets_job(self, request: web.Request) -> web.Response:
        job = self._offsets.job(request.query.get("group", ""))
        if job is None:
            raise refusal(web.HTTPNotFound, "nobody asked for the offsets of that group", "POST offsets")
        return web.json_response(to_json(job))

    def _act(self, request: web.Request, verb: str, target: str | None, *, event: slots.SlotEvent) -> web.Response:
        try:
            concerned = resolve(target, self._supervisor.groups)
        except UnknownTargetError as error:
            raise refusal(web.HTTPNotFound, str(error), error.help) from error
        if self._supervisor.stopping:
            raise refusal(web.HTTPConflict, "the supervisor is stopping", "wait until it is gone")
        audit(self._supervisor.events, request, verb, target)
        for place in concerned:
            self._supervisor.runners[place].feed(event)
        return accepted(f"{verb} {target or 'every group'}", tuple(f"{group}/{slot}" for group, slot in concerned))


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in only our own user and root, bound the time, and answer every refusal as JSON."""
    try:
        async with asyncio.timeout(DEADLINE):
            request[PEER] = _allowed_peer(request)
            return await handler(request)
    except TimeoutError:
        return answer(Refusal(f"the request took longer than {DEADLINE:g} s"), 503)
    except web.HTTPException as error:
        if error.content_type == "application/json":
            raise
        return answer(Refusal(error.reason, f"GET {', '.join(READS)}; POST {', '.join(ACTS)}"), error.status)
    except Exception:  # the border of a request: a bug in one answer must not end supervision
        logger.exception("control.failed", extra={"fields": {"path": request.path}})
        return answer(Refusal("this failed inside the supervisor", "its log has the traceback"), 500)


def _allowed_peer(request: web.Request) -> Peer:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None:
        raise refusal(web.HTTPForbidden, "it cannot be told who asks")
    peer = peer_of(connection)
    if not peer.is_allowed:
        logger.warning("control.refused", extra={"fields": {"uid": peer.uid, "pid": peer.pid}})
        raise refusal(web.HTTPForbidden, f"user {peer.uid} may not control this supervisor")
    return peer
