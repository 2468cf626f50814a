"""Verbs about alerts: what fires, what is silenced, silence something, end that."""

import time

from aiohttp import web

from supervisor.control.requests import Silence as SilenceRequest
from supervisor.control.requests import Unsilence
from supervisor.control.targets import UnknownTargetError, check_scope
from supervisor.core.alert_flow import Silence
from supervisor.core.jsonable import to_json
from supervisor.core.told_names import help_for, is_told
from supervisor.parent.alerts.alerting import Alerting, TooManySilencesError
from supervisor.parent.api.answering import PEER, audit, body_of, refusal
from supervisor.parent.supervisor import Supervisor


class AlertApi:
    """Answers for one supervisor."""

    def __init__(self, alerting: Alerting, supervisor: Supervisor) -> None:
        self._alerting = alerting
        self._supervisor = supervisor
        self._events = supervisor.events

    def add_to(self, application: web.Application) -> None:
        """Add the verbs."""
        router = application.router
        router.add_get("/v1/alerts", self._alerts)
        router.add_post("/v1/silence", self._silence)
        router.add_post("/v1/unsilence", self._unsilence)

    async def _alerts(self, _: web.Request) -> web.Response:
        return web.json_response(to_json(self._alerting.answer()))

    async def _silence(self, request: web.Request) -> web.Response:
        asked = await body_of(request, SilenceRequest)
        if not is_told(asked.name):
            text = f"people are told of nothing called {asked.name!r}"
            raise refusal(web.HTTPNotFound, text, help_for(asked.name))
        try:
            check_scope(asked.group, asked.slot, self._supervisor.groups)
        except UnknownTargetError as error:
            raise refusal(web.HTTPNotFound, str(error), error.help) from None
        by = f"uid {request[PEER].uid}"
        until = time.time() + asked.seconds
        silence = Silence(0, asked.name, until, group=asked.group, slot=asked.slot, reason=asked.reason, by=by)
        try:
            added = self._alerting.silence(silence)
        except TooManySilencesError:
            raise refusal(
                web.HTTPConflict, "there are too many silences", "end some: supervisor silence --end N"
            ) from None
        where = f"{asked.group or '*'}" + ("" if asked.slot is None else f"/{asked.slot}")
        audit(self._events, request, "silence", f"{asked.name} of {where} for {asked.seconds:g} s")
        return web.json_response(to_json(added), status=202)

    async def _unsilence(self, request: web.Request) -> web.Response:
        asked = await body_of(request, Unsilence)
        ended = self._alerting.unsilence(asked.number)
        if ended is None:
            raise refusal(web.HTTPNotFound, f"no silence has the number {asked.number}", "see: supervisor alerts")
        audit(self._events, request, "unsilence", f"{ended.name} (number {ended.number})")
        return web.json_response(to_json(ended), status=202)
