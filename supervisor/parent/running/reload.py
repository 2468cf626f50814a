"""Bring a running supervisor to a new configuration, group by group; a bad one changes nothing (P9)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, fields, replace

from supervisor.config import ConfigError
from supervisor.core.addresses import format_address
from supervisor.core.child_specs import NotifierSpec
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.plan_diff import Change, GroupChange, Shape, plan_diff
from supervisor.core.slot import Start, Stop
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode
from supervisor.parent.groups.rolling import MARGIN, Leaving, Roll, RollError, longest_stop
from supervisor.parent.plan import GroupPlan, Plan
from supervisor.parent.running.operations import BusyError, OperationError, Operations, Say
from supervisor.parent.slots.runner import SlotRunner
from supervisor.parent.supervisor import Supervisor

FIXED = {
    "supervisor": "supervisor.name",
    "state_dir": "supervisor.state_dir",
    "runtime_dir": "supervisor.runtime_dir",
    "socket": "supervisor.runtime_dir",
    "lock": "supervisor.runtime_dir",
    "start_method": "supervisor.start_method",
}
"""Fields of a plan that cannot change while it runs, and the keys they come from."""
LOOK = 0.5
LEAVING: dict[Change, Leaving] = {Change.ROLLED: "none", Change.TOPICS: "last", Change.FEWER_TOPICS: "all"}
RULES = ("policy", "limits", "allowance", "scaling")
OWN = ("name", "topics", "workers", "spec")

Replan = Callable[[], Plan]
"""Reads the configuration again; raises ``ConfigError`` with every problem of it."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What a reload needs besides slots.

    ``validate`` checks plugins and handlers in a throwaway child; ``on_plan`` is called with a plan that is right,
    before any slot is touched: whoever prepares processes (zygotes), or watches groups, hears of it there.
    """

    replan: Replan
    validate: Callable[[Plan], Awaitable[tuple[str, ...]]]
    alerts: Callable[[NotifierSpec | None], Awaitable[None]]
    on_plan: Callable[[Plan], None]


class Reloader:
    """Reloads on request, one at a time; a request that comes meanwhile is served when it is over."""

    def __init__(self, supervisor: Supervisor, operations: Operations, outside: Outside) -> None:
        self._supervisor = supervisor
        self._operations = operations
        self._outside = outside
        self._is_wanted = False

    def request(self) -> None:
        """Reload as soon as nothing else is under way; asked again meanwhile, once more (SIGHUP)."""
        self._is_wanted = True
        self._serve()

    def _serve(self) -> None:
        if not self._is_wanted or self._supervisor.stopping:
            return
        try:
            self._operations.begin("reload", "*", self._wanted)
        except BusyError:
            asyncio.get_running_loop().call_later(LOOK, self._serve)

    async def _wanted(self, say: Say) -> None:
        self._is_wanted = False
        await self.reload(say)

    async def reload(self, say: Say) -> None:
        """Read, check and apply; raises ``OperationError`` when the old configuration, or part of it, stays."""
        events = self._supervisor.events
        events.tell("reload.started", Severity.INFO)
        try:
            plan, changes = await self._checked()
            lines = _lines(self._supervisor.plan, plan, changes)
            for line in lines:
                say(line)
            await self._apply(plan, changes, say)
        except OperationError as error:
            events.tell("reload.failed", Severity.WARNING, str(error))
            raise
        events.tell("reload.done", Severity.INFO, "; ".join(lines))

    async def show(self, say: Say) -> None:
        """Read and check, and say what ``reload`` would do."""
        plan, changes = await self._checked()
        for line in _lines(self._supervisor.plan, plan, changes):
            say(line)

    async def _checked(self) -> tuple[Plan, tuple[GroupChange, ...]]:
        old = self._supervisor.plan
        try:
            plan = self._outside.replan()
        except (ConfigError, ValueError, OSError) as error:
            raise _refused(str(error)) from error
        fixed = sorted({key for name, key in FIXED.items() if getattr(plan, name) != getattr(old, name)})
        if fixed:
            text = f"{' and '.join(fixed)} cannot change while it runs"
            text += "\n  help: put it back, or stop and start the supervisor"
            raise _refused(text)
        problems = await self._outside.validate(plan)
        if problems:
            raise _refused("\n".join(problems))
        return plan, plan_diff(_shapes(old.groups), _shapes(plan.groups))

    async def _apply(self, plan: Plan, changes: Iterable[GroupChange], say: Say) -> None:
        old = self._supervisor.plan
        self._outside.on_plan(plan)
        if plan.notifier != old.notifier:
            await self._outside.alerts(plan.notifier)
            say("alerts: the notifier was started anew")
        before = {group.name: group for group in old.groups}
        after = {group.name: group for group in plan.groups}
        # Groups that are new must be known before their slots are: a slot's file and the status come from the plan.
        added = tuple(group for name, group in after.items() if name not in before)
        self._supervisor.adopt(replace(plan, groups=(*old.groups, *added)))
        work = [
            _Group(self._supervisor, one, before.get(one.name), after.get(one.name), say).apply() for one in changes
        ]
        outcomes = await asyncio.gather(*work)
        kept = {group.name: group for group in outcomes if group is not None}
        order = [*after, *(name for name in kept if name not in after)]
        self._supervisor.adopt(replace(plan, groups=tuple(kept[name] for name in order if name in kept)))
        failed = [name for name, group in kept.items() if group is not after.get(name)]
        if failed:
            text = f"{', '.join(failed)} did not take the new configuration; the old one stays there"
            raise OperationError(text)


class _Group:
    """One group's way to its new plan."""

    def __init__(
        self, supervisor: Supervisor, change: GroupChange, old: GroupPlan | None, new: GroupPlan | None, say: Say
    ) -> None:
        self._supervisor = supervisor
        self._change = change
        self._old = old
        self._new = new
        self._say = say

    async def apply(self) -> GroupPlan | None:
        """Do it; return the plan that the group has in the end, ``None`` when it is no more."""
        if self._old is None or self._new is None:
            return await self._end(self._old) if self._old is not None else await self._begin(self._new)
        try:
            await self._change_over(self._old, self._new)
        except RollError as error:
            text = f"{self._old.name}: {error}"
            self._say(text)
            self._supervisor.events.tell("reload.failed", Severity.CRITICAL, str(error), group=self._old.name)
            return self._old
        if self._change.is_resized:
            self._supervisor.resize(self._new, self._new.workers)
        return self._new

    async def _change_over(self, old: GroupPlan, new: GroupPlan) -> None:
        name = new.name
        match self._change.change:
            case Change.ROLLED | Change.TOPICS | Change.FEWER_TOPICS as change:
                roll = Roll(lambda: self._supervisor.slots(name), self._supervisor.changes, self._say)
                await roll.replace(old, new, leaving=LEAVING[change])
            case Change.RESTARTED:
                await self._as_a_whole(old, new)
            case _:
                for runner in self._supervisor.slots(name):
                    runner.replan(new)

    async def _as_a_whole(self, old: GroupPlan, new: GroupPlan) -> None:
        wanted = [runner for runner in self._supervisor.slots(new.name) if runner.slot.wanted]
        await self._swap(wanted, new)
        patience = new.policy.start_timeout + MARGIN
        until = self._supervisor.changes.until
        await until(lambda: all(map(_is_up, wanted)) or any(map(_is_broken, wanted)), patience)
        lost = [runner for runner in wanted if not _is_up(runner)]
        if lost:
            text = "; ".join(f"{one.name} {one.slot.state.value}: {one.slot.reason}" for one in lost)
            self._say(f"{text}; going back")
            await self._swap(wanted, old)
            await until(lambda: all(map(_is_up, wanted)) or any(map(_is_broken, wanted)), patience)
            raise RollError(text)

    async def _swap(self, wanted: list[SlotRunner], plan: GroupPlan) -> None:
        """Have a whole group leave, and start it by another plan."""
        for runner in wanted:
            runner.feed(Stop(End.LEAVE))
        patience = longest_stop(plan.policy) + MARGIN
        await self._supervisor.changes.until(lambda: all(runner.is_down for runner in wanted), patience)
        for runner in self._supervisor.slots(plan.name):
            runner.replan(plan)
        for runner in wanted:
            runner.feed(Start())

    async def _begin(self, new: GroupPlan | None) -> GroupPlan | None:
        if new is None:
            return None
        self._supervisor.resize(new, new.workers)
        slots = self._supervisor.slots(new.name)
        patience = new.policy.start_timeout + MARGIN
        until = self._supervisor.changes.until
        await until(lambda: all(one.slot.ready for one in slots) or any(map(_is_broken, slots)), patience)
        for runner in slots:
            if not runner.slot.ready:
                self._say(f"{runner.name} {runner.slot.state.value}: {runner.slot.reason or 'not ready yet'}")
        return new

    async def _end(self, old: GroupPlan) -> GroupPlan | None:
        self._supervisor.resize(old, 0)
        patience = longest_stop(old.policy) + MARGIN
        runners = self._supervisor.runners
        is_gone = await self._supervisor.changes.until(lambda: all(name != old.name for name, _ in runners), patience)
        return None if is_gone else old


def _is_up(runner: SlotRunner) -> bool:
    return runner.slot.state is SlotState.RUNNING and runner.slot.joined


def _is_broken(runner: SlotRunner) -> bool:
    return runner.slot.state in (SlotState.BACKOFF, SlotState.FATAL)


def _lines(old: Plan, new: Plan, changes: Iterable[GroupChange]) -> list[str]:
    """Return what a reload does, one line for the parent itself where that changes, and one for each group."""
    before, after = _own(old), _own(new)
    keys = [key for key in after if before[key] != after[key]]
    own = [f"supervisor: applied without a restart ({', '.join(keys)})"] if keys else []
    return own + [f"{change.name}: {change.text}" for change in changes]


def _own(plan: Plan) -> dict[str, object]:
    """Return what the parent itself goes by, besides ``FIXED``, by its key in ``[supervisor]`` or from the top."""
    return {
        "orphan_grace": plan.orphan_grace,
        "log_format": plan.log_format,
        "log_level": plan.log_level,
        "lag_interval": plan.inspector.interval if plan.inspector is not None else 0.0,
        "http.listen": format_address(*plan.http) if plan.http is not None else "",
        "journal.max_age": plan.retention.max_age,
        "journal.max_size": plan.retention.max_size,
    }


def _refused(text: str) -> OperationError:
    return OperationError(f"the old configuration stays: {text}", ExitCode.CONFIG)


def _shapes(groups: Iterable[GroupPlan]) -> dict[str, Shape]:
    return {group.name: _shape(group) for group in groups}


def _shape(group: GroupPlan) -> Shape:
    others = (getattr(group, f.name) for f in fields(group) if f.name not in (*RULES, *OWN))
    more = tuple(value for value in others if not callable(value))
    spec = group.spec(0, 0, Mode.WORK)
    return Shape(group.workers, spec, rules=tuple(getattr(group, name) for name in RULES), more=more)
