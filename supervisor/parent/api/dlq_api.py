"""Verbs about dead letters: look at them, send, export, drop, drain; and what ``supervisor dlq`` did, to be told."""

from dataclasses import replace

from aiohttp import web

from supervisor.control.requests import Dlq, NoteDlq, StopDlq
from supervisor.core.dlq import SINKS, DlqAnswer, DlqRequest, Place, Replay, Verb, Where, replay_name
from supervisor.core.dlq_told import ENDS, about, ending
from supervisor.core.events import Scalar, Severity
from supervisor.core.jsonable import to_json
from supervisor.core.replay import Filter, HeaderTest, Origins
from supervisor.core.spec import Mode, WorkerSpec
from supervisor.core.spools import SPOOL, is_spooled
from supervisor.core.suggest import did_you_mean
from supervisor.parent.api.answering import PEER, accepted, body_of, refusal
from supervisor.parent.api.dlq_jobs import DlqJobs, TakenError, TooManyJobsError
from supervisor.parent.api.peer import Peer
from supervisor.parent.supervisor import Supervisor

DIGITS = 16
_STARTED = {Verb.REPLAY: "replay_started", Verb.DROP: "drop_started", Verb.EXPORT: "exported"}
_DRAIN = {"verb", "group", "rate"}
"""All that a drain may be told: what else was meant to narrow it would not."""


class DlqApi:
    """Answers for one supervisor."""

    def __init__(self, supervisor: Supervisor, jobs: DlqJobs) -> None:
        self._supervisor = supervisor
        self._jobs = jobs

    def add_to(self, application: web.Application) -> None:
        """Add the verbs."""
        router = application.router
        router.add_post("/v1/dlq", self._begin)
        router.add_get("/v1/dlq", self._job)
        router.add_get("/v1/dlq_lines", self._lines)
        router.add_post("/v1/stop_dlq", self._stop)
        router.add_post("/v1/note_dlq", self._note)

    async def _begin(self, request: web.Request) -> web.Response:
        body = await body_of(request, Dlq)
        spec = self._spec(body.group)
        if self._supervisor.stopping:
            raise refusal(web.HTTPConflict, "the supervisor is stopping", "wait until it is gone")
        try:
            asked = _request(body, spec)
        except ValueError as error:
            raise refusal(web.HTTPUnprocessableEntity, str(error), "see docs/replay.md") from error
        peer = request[PEER]
        try:
            job = self._jobs.begin(asked, lambda answer: self._tell_done(asked, peer, answer))
        except (OSError, TooManyJobsError) as error:
            why = "no process can be started" if isinstance(error, OSError) else "too many such jobs are under way"
            raise refusal(web.HTTPConflict, why, "wait until one is over, or stop one") from error
        if asked.verb in _STARTED and not asked.replay.dry_run:
            self._tell(_STARTED[asked.verb], asked, peer, text=asked.meant.text)
        return web.json_response(to_json(job), status=202)

    async def _job(self, request: web.Request) -> web.Response:
        return self._answer(_number(request, "number"), status=200)

    async def _lines(self, request: web.Request) -> web.Response:
        number = _number(request, "number")
        try:
            found = self._jobs.lines(number, _number(request, "after"))
        except TakenError as error:
            help_ = "after: how many you have, of those that were handed out"
            raise refusal(web.HTTPConflict, "those letters are not what comes next", help_) from error
        if found is None:
            raise self._unknown(number)
        return web.json_response(to_json(found))

    async def _stop(self, request: web.Request) -> web.Response:
        number = (await body_of(request, StopDlq)).number
        self._jobs.end(number)
        return self._answer(number, status=202)

    async def _note(self, request: web.Request) -> web.Response:
        body = await body_of(request, NoteDlq)
        peer = request[PEER]
        fields: dict[str, Scalar] = {**body.fields, "uid": peer.uid, "pid": peer.pid}
        self._supervisor.events.tell(f"dlq.{body.name}", Severity.INFO, body.text, group=body.group, fields=fields)
        return accepted("noted", ())

    def _answer(self, number: int, *, status: int) -> web.Response:
        job = self._jobs.job(number)
        if job is None:
            raise self._unknown(number)
        return web.json_response(to_json(job), status=status)

    @staticmethod
    def _unknown(number: int) -> web.HTTPException:
        return refusal(web.HTTPNotFound, f"no job {number} is known", "only the latest are remembered")

    def _spec(self, group: str) -> WorkerSpec:
        found = next((plan for plan in self._supervisor.plan.groups if plan.name == group), None)
        if found is None:
            groups = self._supervisor.groups
            text = f"{did_you_mean(group, groups)}groups: {', '.join(groups)}"
            raise refusal(web.HTTPNotFound, f"no group is called {group!r}", text)
        return found.spec(0, 0, Mode.WORK)

    def _tell_done(self, asked: DlqRequest, peer: Peer, answer: DlqAnswer) -> None:
        if asked.verb in ENDS and not asked.replay.dry_run:
            text, how = ending(asked, answer)
            self._tell(ENDS[asked.verb], asked, peer, text=text, more=how)

    def _tell(
        self, name: str, asked: DlqRequest, peer: Peer, *, text: str, more: dict[str, Scalar] | None = None
    ) -> None:
        fields = {**about(asked), **(more or {}), "uid": peer.uid, "pid": peer.pid}
        self._supervisor.events.tell(f"dlq.{name}", Severity.INFO, text, group=asked.group.name, fields=fields)


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0" if name == "after" else "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < DIGITS else -1


def _drain(body: Dlq, spec: WorkerSpec) -> DlqRequest:
    more = sorted(body.model_fields_set - _DRAIN)
    if more:
        message = f"{', '.join(more)}: not of drain, which takes a rate and empties the whole spool"
        raise ValueError(message)
    if not is_spooled(spec.group):
        message = f'group {spec.group.name} has no spool: its dead_letters.fallback is not "{SPOOL}", or its sink is'
        raise ValueError(message)
    where, how = Where(Place.FILE), Replay(rate=body.rate)
    return DlqRequest(
        Verb.DRAIN,
        spec.group,
        spec.state_dir,
        parent_pid=0,
        where=where,
        replay=how,
        supervisor=spec.supervisor,
    )


def _request(body: Dlq, spec: WorkerSpec) -> DlqRequest:
    """Return what the child is asked; raises ``ValueError`` for what cannot be understood."""
    verb = Verb(body.verb)
    if body.dry_run and verb not in (Verb.REPLAY, Verb.DROP):
        message = f"dry_run: not of {verb}, which would do all of it"
        raise ValueError(message)
    if verb is Verb.DRAIN:
        return _drain(body, spec)
    meant = Filter(
        headers=tuple(map(HeaderTest.parsed, body.headers)),
        since=body.since,
        until=body.until,
        keys=body.keys,
        exceptions=body.exceptions,
        dispositions=body.dispositions,
        origins=tuple(map(Origins.parsed, body.origins)),
    )
    replay = Replay(
        name=body.name,
        to=body.to,
        by_key=body.by_key,
        rate=body.rate,
        max_replays=body.max_replays,
        most=body.most,
        restart=body.restart,
        dry_run=body.dry_run,
    )
    place = body.source or (Place.KAFKA if body.topics else SINKS.get(spec.group.dead_letters.sink))
    if place is None:
        message = f"the sink {spec.group.dead_letters.sink!r} is none of ours: say which source or topics"
        raise ValueError(message)
    if verb is Verb.SHOW and not body.letter:
        message = "letter: missing, say which one to show"
        raise ValueError(message)
    return DlqRequest(
        verb,
        spec.group,
        spec.state_dir,
        parent_pid=0,
        where=Where(place, body.topics),
        meant=meant,
        replay=replace(replay, name=replay_name(verb, meant, replay)),
        pending=body.pending,
        limit=body.limit,
        one=body.letter,
        values=body.value,
        supervisor=spec.supervisor,
    )
