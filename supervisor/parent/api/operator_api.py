"""Verbs that change how much runs and by which configuration, and those that take their time."""

from aiohttp import web

from supervisor.control.requests import Drain, Dump, Pause, Reload, Resume, Scale
from supervisor.control.targets import UnknownTargetError, resolve
from supervisor.core.jsonable import to_json
from supervisor.core.snapshot import SlotState
from supervisor.core.suggest import did_you_mean
from supervisor.parent.api.answering import PEER, accepted, audit, begun, body_of, refusal
from supervisor.parent.api.dlq_api import DlqApi
from supervisor.parent.api.dlq_jobs import DlqJobs
from supervisor.parent.groups.rolling import Roll, RollError
from supervisor.parent.running.drain import drain
from supervisor.parent.running.dump import dump
from supervisor.parent.running.operations import BusyError, OperationError, Operations, Say, Work
from supervisor.parent.running.reload import Reloader
from supervisor.parent.slots.runner import SlotRunner
from supervisor.parent.supervisor import Supervisor

DIGITS = 16


class OperatorApi:
    """Answers for one supervisor; ``reloader`` is ``None`` where nothing can be read again."""

    def __init__(
        self, supervisor: Supervisor, operations: Operations, reloader: Reloader | None, *, dlq: DlqJobs
    ) -> None:
        self._supervisor = supervisor
        self._operations = operations
        self._reloader = reloader
        self._dlq = dlq

    def add_to(self, application: web.Application) -> None:
        """Add the verbs."""
        router = application.router
        router.add_get("/v1/operation", self._operation)
        router.add_post("/v1/reload", self._reload)
        router.add_post("/v1/scale", self._scale)
        router.add_post("/v1/pause", self._pause)
        router.add_post("/v1/drain", self._drain)
        router.add_post("/v1/dump", self._dump)
        DlqApi(self._supervisor, self._dlq).add_to(application)

    def restart(self, request: web.Request, target: str | None) -> web.Response:
        """Begin a rolling restart."""
        concerned = self._resolved(target)
        supervisor = self._supervisor

        async def work(say: Say) -> None:
            for group in dict.fromkeys(group for group, _ in concerned):
                wanted = {slot for name, slot in concerned if name == group}

                def slots(group: str = group, wanted: frozenset[int] = frozenset(wanted)) -> list[SlotRunner]:
                    return [one for one in supervisor.slots(group) if one.number in wanted]

                try:
                    await Roll(slots, supervisor.changes, say).restart()
                except RollError as error:
                    text = f"{error}; the rest was not restarted"
                    raise OperationError(text) from error

        return self._begin(request, "restart", target, work, shown=f"{target or '*'} rolling")

    def unpause(self, request: web.Request, body: Resume) -> web.Response:
        """End a pause; of a group whatever else holds its records back, too."""
        if body.partition is not None:
            raise refusal(web.HTTPUnprocessableEntity, "to: missing", "say where the partition goes on")
        group, slot = self._pausable(body.target)
        paused = self._supervisor.paused
        if slot is not None and not paused.holds(group, slot):
            text = f"what holds the whole group back is ended by: supervisor resume {group}"
            raise refusal(web.HTTPConflict, f"slot {body.target} is not paused", text)
        if slot is None and not self._supervisor.let_go(group) and paused == paused.of_group(group, on=False):
            text = f"for stopped partitions say where to go on: supervisor resume {group} --to earliest"
            raise refusal(web.HTTPConflict, f"group {group!r} is not paused", text)
        audit(self._supervisor.events, request, "resume", body.target)
        self._supervisor.pause(group, slot, on=False)
        return accepted(f"resume {body.target}", self._names(self._resolved(body.target)))

    async def _operation(self, request: web.Request) -> web.Response:
        number = request.query.get("number", "")
        is_number = number.isascii() and number.isdigit() and len(number) < DIGITS
        found = self._operations.get(int(number)) if is_number else None
        if found is None:
            raise refusal(web.HTTPNotFound, f"no operation {number!r} is known", "only the latest are remembered")
        return web.json_response(to_json(found))

    async def _reload(self, request: web.Request) -> web.Response:
        body = await body_of(request, Reload)
        if self._reloader is None:
            raise refusal(web.HTTPConflict, "this supervisor reads its configuration only once", "it ends by itself")
        if body.dry_run:
            return self._begin(request, "reload", None, self._reloader.show, shown="dry run")
        return self._begin(request, "reload", None, self._reloader.reload)

    async def _scale(self, request: web.Request) -> web.Response:
        body = await body_of(request, Scale)
        for group in body.groups:
            self._known(group)
        self._refuse_when_stopping()
        for group, workers in body.groups.items():
            audit(self._supervisor.events, request, "scale", f"{group}={workers}")
            self._supervisor.scale(group, workers, reason=f"asked by uid {request[PEER].uid}")
        text = "; ".join(warning for group in body.groups if (warning := self._idle(group)))
        return accepted(text, tuple(f"{group}/{at}" for group, size in body.groups.items() for at in range(size)))

    def _idle(self, group: str) -> str:
        """Return a warning when workers of a group have nothing to do already: it has more of them than partitions."""
        joined = [one for one in self._supervisor.slots(group) if one.slot.joined and one.stats is not None]
        idle = [one.name for one in joined if one.stats is not None and not one.stats.partitions]
        new = sum(not one.slot.ready for one in self._supervisor.slots(group))
        if not idle or not new or len(idle) == len(joined):
            return ""
        return f"{', '.join(idle)} had no partition before: more workers than partitions stay idle"

    async def _pause(self, request: web.Request) -> web.Response:
        target = (await body_of(request, Pause)).target
        group, slot = self._pausable(target)
        self._refuse_when_stopping()
        audit(self._supervisor.events, request, "pause", target)
        self._supervisor.pause(group, slot, on=True)
        return accepted(f"pause {target}", self._names(self._resolved(target)))

    async def _drain(self, request: web.Request) -> web.Response:
        body = await body_of(request, Drain)
        concerned = self._resolved(body.target)
        runners = [self._supervisor.runners[place] for place in concerned]

        async def work(say: Say) -> None:
            await drain(runners, self._supervisor, say, patience=body.timeout)

        return self._begin(request, "drain", body.target, work)

    async def _dump(self, request: web.Request) -> web.Response:
        target = (await body_of(request, Dump)).target
        concerned = self._resolved(target)
        audit(self._supervisor.events, request, "dump", target)
        dumped = dump(self._supervisor, [self._supervisor.runners[place] for place in concerned])
        return accepted("stacks go where the workers' standard error goes", dumped)

    def _begin(
        self, request: web.Request, verb: str, target: str | None, work: Work, *, shown: str | None = None
    ) -> web.Response:
        self._refuse_when_stopping()
        try:
            operation = self._operations.begin(verb, target or "*", work)
        except BusyError as error:
            raise refusal(web.HTTPConflict, str(error), "wait until it is over") from error
        audit(self._supervisor.events, request, verb, shown or target)
        return begun(operation)

    def _refuse_when_stopping(self) -> None:
        if self._supervisor.stopping:
            raise refusal(web.HTTPConflict, "the supervisor is stopping", "wait until it is gone")

    def _pausable(self, target: str) -> tuple[str, int | None]:
        """Return the group, and the slot where one is meant: that one must be up, or come back by itself."""
        if target in self._supervisor.groups:
            return target, None
        ((group, number),) = self._resolved(target)
        slot = self._supervisor.runners[group, number].slot
        if not slot.wanted:
            self._refuse_when_stopping()
            what = "was given up" if slot.state is SlotState.FATAL else "is stopped"
            raise refusal(web.HTTPConflict, f"slot {target} {what}", f"to have it work: supervisor start {target}")
        return group, number

    def _known(self, group: str) -> None:
        groups = self._supervisor.groups
        if group not in groups:
            text = f"{did_you_mean(group, groups)}groups: {', '.join(groups)}"
            raise refusal(web.HTTPNotFound, f"no group is called {group!r}", text)

    def _resolved(self, target: str | None) -> tuple[tuple[str, int], ...]:
        try:
            return resolve(target, self._supervisor.groups)
        except UnknownTargetError as error:
            raise refusal(web.HTTPNotFound, str(error), error.help) from error

    @staticmethod
    def _names(concerned: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
        return tuple(f"{group}/{slot}" for group, slot in concerned)
