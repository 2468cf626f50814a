"""All slots of all groups: start, watch, stop."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping

from supervisor import __version__
from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar, Severity
from supervisor.core.exits import ExitCode
from supervisor.core.lag import GroupLag
from supervisor.core.paused import Paused
from supervisor.core.progress import STALL
from supervisor.core.slot import Start, Stood, Stop
from supervisor.core.snapshot import GroupSnapshot, SlotState, Snapshot
from supervisor.core.spec import End
from supervisor.parent.deaths.ledger import Ledger
from supervisor.parent.deaths.oom import OomWatch
from supervisor.parent.groups.changes import Changes
from supervisor.parent.groups.groups import Groups
from supervisor.parent.groups.rolling import MARGIN, longest_stop
from supervisor.parent.plan import GroupPlan, Plan
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.launcher import Launcher
from supervisor.parent.slots.breakers import Breakers
from supervisor.parent.slots.cgroups import Cgroups
from supervisor.parent.slots.floods import Floods
from supervisor.parent.slots.gate import StartGate
from supervisor.parent.slots.house import House
from supervisor.parent.slots.leftovers import leftovers
from supervisor.parent.slots.limits import hold_to_limits
from supervisor.parent.slots.runner import SlotRunner
from supervisor.parent.slots.slotfile import SlotFile
from supervisor.parent.slots.strangers import Strangers
from supervisor.parent.slots.tallies import Tallies
from supervisor.parent.store.eventlog import EventLog

LOOK = 1.0
SAMPLE_EVERY = 5

logger = logging.getLogger(__name__)


class Supervisor:
    """The parent's working part, in its loop. ``pulse`` is called about once a second."""

    def __init__(
        self, plan: Plan, *, launcher: Launcher, exits: ExitWatch, events: EventLog, pulse: Callable[[], None]
    ) -> None:
        self.plan = plan
        self.events = events
        self.exit_code = ExitCode.OK
        self.tallies = Tallies()
        events.listen(self.tallies.hear)
        self.stopping = False
        self.changes = Changes()
        self.paused = Paused()
        """What an operator or a retry policy paused; workers that come later start so."""
        self.lag: Callable[[str], GroupLag | None] = lambda _group: None
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._pulse = pulse
        self._ticks = 0
        self._looked_at = self._started_at
        self._fast = False
        self._finished = asyncio.Event()
        self.breakers = Breakers(self._all_slots, events)
        self.floods = Floods(self._all_slots, events)
        places = max(2, os.cpu_count() or 1)
        self._house = House(
            launcher=launcher,
            exits=exits,
            starts=StartGate(places),
            leaves=StartGate(places),
            events=events,
            orphan_grace=lambda: self.plan.orphan_grace,
            stirred=self._stirred,
            changed=self._changed,
            pause=self._pause_for,
            cgroups=Cgroups(lambda text: events.tell("limits.no_cgroups", Severity.WARNING, text)),
            oom=OomWatch(),
            breakers=self.breakers,
            ledger=Ledger(plan.state_dir, events),
            tallies=self.tallies,
            floods=self.floods,
        )
        self._oom = self._house.oom
        self.ledger = self._house.ledger
        self.runners: dict[tuple[str, int], SlotRunner] = {}
        self._sizes = {group.name: group.workers for group in plan.groups}
        self._retiring: set[tuple[str, int]] = set()
        self._groups = Groups(lambda: self.runners, events)
        for group in plan.groups:
            for number in range(group.workers):
                self._add(group, number)
        for group, number in leftovers(plan):
            self._add(group, number).inherit()
            self._retiring.add((group.name, number))
        known = {runner.file_path for runner in self.runners.values()}
        self._strangers = Strangers(plan.runtime_dir, known, grace=self._house.orphan_grace, events=events)
        self._timer = self._loop.call_later(LOOK, self._look)
        self._abandon: asyncio.TimerHandle | None = None

    @property
    def groups(self) -> dict[str, int]:
        """Each group's number of slots, as it should be now; those on their way out do not count."""
        return dict(self._sizes)

    def slots(self, group: str) -> list[SlotRunner]:
        """Return a group's slots in their order, without those on their way out."""
        return [self.runners[key] for key in sorted(self.runners) if key[0] == group and key not in self._retiring]

    def start(self) -> None:
        """Start every slot; at most as many at once as there are processors."""
        slots = len(self.runners) - len(self._retiring)
        fields: dict[str, Scalar] = {"version": __version__, "pid": os.getpid(), "slots": slots}
        self.events.tell("supervisor.started", Severity.INFO, fields=fields)
        self._strangers.start()
        for key, runner in tuple(self.runners.items()):
            if key not in self._retiring:
                runner.feed(Start())
                continue
            text = "an earlier supervisor had it running: it leaves the group"
            self.events.tell("slot.left_over", Severity.INFO, text, group=key[0], slot=key[1])
            runner.feed(Stop(End.LEAVE))

    def stop(self, reason: str, *, end: End = End.LEAVE, fast: bool = False) -> None:
        """Stop everything, all groups in parallel. Asked again: only a change (``fast``, another end) counts."""
        if not self.stopping:
            self.events.tell("supervisor.stopping", Severity.INFO, reason, fields={"end": end.value})
            self._abandon = self._loop.call_later(self._patience(), self._give_up_waiting)
        self.stopping = self.changes.stopping = True
        self._fast = self._fast or fast
        for runner in tuple(self.runners.values()):
            runner.feed(Stop(end, fast=self._fast))
        self._changed()

    def rests(self, group: str) -> bool:
        """Tell whether its lag says nothing of a group: a slot of it is paused, or all were stopped or given up."""
        slots = self.slots(group)
        if any(self.paused.holds(group, runner.number) for runner in slots):
            return True
        return not any(one.slot.wanted and one.slot.state is not SlotState.FATAL for one in slots)

    def scale(self, group: str, workers: int, *, reason: str, fields: Mapping[str, Scalar] | None = None) -> None:
        """Give a group so many slots, until a reload changes ``workers``; returns at once.

        ``fields``: more that the event of it says. New slots start; those that are too many leave the group, the
        highest first, and are gone when they are down.
        """
        before = self._sizes[group]
        if workers == before or self.stopping:
            return
        told: dict[str, Scalar] = {"before": before, "workers": workers, **(fields or {})}
        self.events.tell("group.scaled", Severity.INFO, reason, group=group, fields=told)
        plan = next(plan for plan in self.plan.groups if plan.name == group)
        self.resize(plan, workers)

    def resize(self, plan: GroupPlan, workers: int) -> None:
        """As ``scale``, without a word; a group that is not known yet is added, one with 0 slots is kept."""
        self._sizes[plan.name] = workers
        for number in range(workers):
            key = (plan.name, number)
            if key not in self.runners:
                runner = self._add(plan, number)
                self._strangers.release(runner.file_path)
                runner.feed(Start())
            elif key in self._retiring:
                self._retiring.discard(key)
                self.runners[key].feed(Start())
        for number in sorted((number for name, number in self.runners if name == plan.name), reverse=True):
            if number >= workers:
                self._retiring.add((plan.name, number))
                self.runners[plan.name, number].feed(Stop(End.LEAVE))

    def adopt(self, plan: Plan) -> None:
        """Take over a plan whose groups are what the slots were brought to; others are forgotten."""
        self.plan = plan
        names = {group.name for group in plan.groups}
        self._sizes = {name: size for name, size in self._sizes.items() if name in names}
        self.paused = self.paused.keep(names)
        self.breakers.keep(names)
        self.floods.keep(names)

    def pause(self, group: str, slot: int | None = None, *, on: bool) -> None:
        """Have a group's workers, or one slot's, read nothing, or go on; holds for workers that start later, too."""
        paused = self.paused
        self.paused = paused.of_group(group, on=on) if slot is None else paused.of_slot(group, slot, on=on)
        for runner in self.slots(group):
            if slot in (None, runner.number):
                runner.pause(on=on)

    def is_paused(self, group: str) -> bool:
        """Tell whether a group is paused as a whole: nothing of it is to begin, however it was told."""
        slots = self.slots(group)
        is_whole = all(self.paused.holds(group, runner.number) for runner in slots)
        return is_whole if slots else group in self.paused.groups

    def let_go(self, group: str) -> bool:
        """End by hand what holds a group's records back, its pause aside; return whether anything did."""
        ended = (self.breakers.resume(group), self.floods.resume(group))
        return any(ended)

    def _pause_for(self, group: str, slot: int, text: str) -> None:
        """Pause a group because a record of it asks for that; told once, whoever else asks."""
        if not self.is_paused(group):
            text = f"paused at {text}; to go on: supervisor resume {group}"
            self.events.tell("group.paused", Severity.CRITICAL, text, group=group, slot=slot)
            self.pause(group, on=True)

    async def finished(self) -> None:
        """Wait until every slot is at rest after a stop, or everything was given up."""
        await self._finished.wait()

    def close(self) -> None:
        """Let go of files and timers."""
        self._timer.cancel()
        self._strangers.close()
        self._retiring.clear()
        self.changes.stopping = True
        self.changes.tell()
        if self._abandon is not None:
            self._abandon.cancel()
        for runner in self.runners.values():
            if runner.has_left:
                runner.remove()
            else:
                runner.close()

    def snapshot(self) -> Snapshot:
        """Return what people may see of it all."""
        groups = tuple(
            GroupSnapshot(
                name=group.name,
                topics=group.topics,
                workers=self._sizes.get(group.name, 0),
                slots=tuple(self.runners[key].snapshot() for key in sorted(self.runners) if key[0] == group.name),
                paused=self.is_paused(group.name),
                lag=self.lag(group.name),
                condition=self._condition(group.name),
                breaker=self.breakers.snapshot(group.name),
                flood=self.floods.snapshot(group.name),
            )
            for group in self.plan.groups
        )
        uptime = round(self._loop.time() - self._started_at, 3)
        return Snapshot(self.plan.supervisor, __version__, os.getpid(), at=time.time(), uptime=uptime, groups=groups)

    def fatal_reasons(self) -> tuple[str, ...]:
        """Return why slots were given up, one line each."""
        fatal = (runner for runner in self.runners.values() if runner.slot.state is SlotState.FATAL)
        return tuple(f"{runner.name}: {runner.slot.reason}" for runner in fatal)

    def _condition(self, group: str) -> str:
        said = (
            self._groups.condition(group),
            self.breakers.words(group),
            self.floods.words(group),
            self.ledger.words(group),
        )
        return "; ".join(text for text in said if text)

    def _all_slots(self, group: str) -> list[SlotRunner]:
        """Return a group's slots, those on their way out, too."""
        return [runner for key, runner in self.runners.items() if key[0] == group]

    def _add(self, plan: GroupPlan, number: int) -> SlotRunner:
        file = SlotFile(self.plan.slot_file(plan.name, number))
        runner = self.runners[plan.name, number] = SlotRunner(plan, number, file, self._house)
        runner.pause(on=self.paused.holds(plan.name, number))
        return runner

    def _remove(self, key: tuple[str, int]) -> None:
        """Forget a slot that was scaled away and is down, and its file."""
        if key in self._retiring and self.runners[key].is_down:
            self._retiring.discard(key)
            self.runners.pop(key).remove()
            self.paused = self.paused.without(*key)
            self.changes.tell()

    def _stirred(self, group: str) -> None:
        if not self.stopping:
            self._groups.stirred(group)
            self.breakers.stirred(group)
            self.floods.stirred(group)

    def _changed(self) -> None:
        self.changes.tell()
        if self._finished.is_set():
            return
        for key in self._retiring:
            if self.runners[key].is_down:
                self._loop.call_soon(self._remove, key)
        if self.stopping:
            if all(runner.is_down for runner in self.runners.values()):
                self._finished.set()
        elif self.runners and all(runner.slot.state is SlotState.FATAL for runner in self.runners.values()):
            self.exit_code = ExitCode.FAILURE
            self.stopping = self.changes.stopping = True
            self.events.tell("supervisor.stopping", Severity.CRITICAL, "every slot of every group was given up")
            self._finished.set()

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK, self._look)
        self._ticks += 1
        stood = self._loop.time() - self._looked_at - LOOK
        self._looked_at += stood + LOOK
        if stood > STALL:
            for runner in tuple(self.runners.values()):
                runner.feed(Stood(stood))
        for place, runner in enumerate(tuple(self.runners.values())):
            runner.look()
            runner.sample(due=(self._ticks + place) % SAMPLE_EVERY == 0)
        self._oom.look(now=self._loop.time())
        self.ledger.look()
        hold_to_limits(self.runners.values(), now=self._loop.time())
        if not self.stopping:
            self._groups.look()
            self.breakers.look()
            self.floods.look(self._sizes)
        self._pulse()

    def _patience(self) -> float:
        return max((longest_stop(group.policy) for group in self.plan.groups), default=0.0) + MARGIN

    def _give_up_waiting(self) -> None:
        left = [runner.name for runner in self.runners.values() if not runner.is_down]
        text = f"after {format_duration(self._patience())} these slots are not down: {', '.join(left)}"
        self.events.tell("supervisor.stopping", Severity.CRITICAL, text)
        self.exit_code = ExitCode.FAILURE
        for runner in self.runners.values():
            runner.kill()
        self._finished.set()
