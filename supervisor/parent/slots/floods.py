"""The flood guards of all groups: what all workers of a group add up to, and when they may go on.

The rules are in ``core.flood``. As with ``parent.slots.breakers`` each worker is told when what it should do is not
what it was told last.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from supervisor.core.flood import Flood, Step, look, order_for, resume, trip, words
from supervisor.core.flood_window import FloodWindow
from supervisor.core.frames import Frame
from supervisor.core.jsonable import to_json
from supervisor.core.slot import Stop
from supervisor.core.snapshot import FloodSnapshot
from supervisor.core.spec import End, FloodOrder, FloodSpec, FloodState
from supervisor.parent.store.eventlog import EventLog

if TYPE_CHECKING:
    from supervisor.parent.slots.runner import SlotRunner

LONGEST_REASON = 200


class _Counts:
    """The dead letters and the other settled records of a group, over all its workers' lives.

    What workers did before they are counted is of no window: a reload may bring a guard to those that work for long.
    """

    def __init__(self, spec: FloodSpec, slots: "Sequence[SlotRunner]", now: float) -> None:
        self.spec = spec
        self.window = FloodWindow(spec, now=now, is_exact=False)
        self.letters = self.others = 0
        self._seen: dict[int, tuple[int, int, int]] = {}
        self.add(slots)
        self.window.clear(self.letters, self.others, now=now)

    def add(self, slots: "Sequence[SlotRunner]") -> bool:
        """Count what workers did since the last time; return whether letters are among it."""
        before = self.letters
        for slot in slots:
            stats, incarnation = slot.stats, slot.slot.incarnation
            if stats is None:
                continue
            letters, others = stats.dead_lettered, max(0, stats.settled - stats.dead_lettered)
            last = self._seen.get(slot.number)
            base = (last[1], last[2]) if last is not None and last[0] == incarnation else (0, 0)
            self.letters += max(0, letters - base[0])
            self.others += max(0, others - base[1])
            self._seen[slot.number] = (incarnation, letters, others)
        return self.letters > before


class Floods:
    """The shell around each group's guard, in the parent's loop. ``slots`` returns all of a group."""

    def __init__(self, slots: "Callable[[str], Sequence[SlotRunner]]", events: EventLog) -> None:
        self._slots = slots
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._floods: dict[str, Flood] = {}
        self._counts: dict[str, _Counts] = {}
        self._since: dict[str, float] = {}
        """Wall times, for people."""
        self._told: dict[tuple[str, int], FloodOrder] = {}
        self._ending: set[str] = set()
        """Groups that are just being stopped: not all of their slots have heard of it."""

    def heard(self, group: str, slot: int, frame: Frame) -> None:
        """Take what a worker says of its guard; ``KeyError`` or ``ValueError`` when it is no such frame."""
        spec, now = self._spec(group), self._loop.time()
        before = self._floods.get(group, Flood())
        match frame["state"]:
            case "tripped":
                reason = str(frame["reason"])[:LONGEST_REASON]
                self._take(group, trip(before, reason, spec, by=f"slot {slot}", now=now))
            case "passed" if before.state is FloodState.HALF_OPEN:
                self._take(group, resume(before, by=f"records of slot {slot}", now=now))

    def stirred(self, group: str) -> None:
        """Look at a group of which a slot has changed."""
        flood = self._floods.get(group)
        if flood is None:
            return
        if flood.stopped and group not in self._ending and any(slot.slot.wanted for slot in self._slots(group)):
            self._take(group, resume(flood, by="an operator", now=self._loop.time(), amnesty=True))
        else:
            self._tell(group, flood)

    def look(self, groups: Collection[str]) -> None:
        """Add up what the workers of each group did, and let a few records try where it is time; once a second."""
        now = self._loop.time()
        for group in groups:
            spec = self._spec(group)
            if not spec.is_on:
                self._switched_off(group, now)
                continue
            flood, counts = self._floods.get(group, Flood()), self._counts.get(group)
            if counts is None or counts.spec != spec:
                counts = self._counts[group] = _Counts(spec, self._slots(group), now)
            has_letters = counts.add(self._slots(group))
            if not flood.is_tripped and has_letters:
                reason = counts.window.reason(counts.letters, counts.others, now=now)
                if reason:
                    self._take(group, trip(flood, reason, spec, by="all workers together", now=now))
            counts.window.sample(counts.letters, counts.others, now=now)
            if group in self._floods:
                flood = self._floods[group]
                if flood.amnesty and counts.window.is_armed:  # else it would be that of all who start from now on
                    flood = replace(flood, amnesty=False)
                self._take(group, look(flood, spec, now=now))

    def keep(self, groups: Collection[str]) -> None:
        """Forget all other groups."""
        self._floods = {name: flood for name, flood in self._floods.items() if name in groups}
        self._counts = {name: counts for name, counts in self._counts.items() if name in groups}

    def resume(self, group: str) -> bool:
        """Have a group go on by an operator's word; return whether its guard had tripped."""
        flood = self._floods.get(group, Flood())
        if not flood.is_tripped or flood.stopped:
            return False
        self._take(group, resume(flood, by="an operator", now=self._loop.time(), amnesty=True))
        return True

    def order(self, group: str, slot: int) -> FloodOrder:
        """Return what a new worker of a slot is to be told with its spec."""
        order = self._told[group, slot] = order_for(self._floods.get(group, Flood()))
        return order

    def snapshot(self, group: str) -> FloodSnapshot | None:
        """Return what people may see of a group's guard, ``None`` while all is as usual."""
        flood = self._floods.get(group, Flood())
        if not flood.is_tripped:
            return None
        left = None if flood.resume_at is None else round(max(0.0, flood.resume_at - self._loop.time()), 3)
        state = "stopped" if flood.stopped else flood.state.value
        return FloodSnapshot(state, flood.reason, self._since[group], self._spec(group).action.value, left)

    def words(self, group: str) -> str:
        """Return a group's guard in words, empty while all is as usual."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._since.get(group, 0.0)))
        flood, action = self._floods.get(group, Flood()), self._spec(group).action
        return words(flood, group, action, since=since, now=self._loop.time())

    def _switched_off(self, group: str, now: float) -> None:
        """Have a group go on that its guard holds, and that a reload left without one; who was stopped stays so."""
        self._counts.pop(group, None)
        flood = self._floods.get(group, Flood())
        if flood.is_tripped and not flood.stopped:
            self._take(group, resume(flood, by="its configuration", now=now, amnesty=True))

    def _take(self, group: str, step: Step) -> None:
        flood, reports = step
        before = self._floods.get(group, Flood())
        if flood.is_tripped and not before.is_tripped:
            self._since[group] = time.time()
        self._floods[group] = flood
        for report in reports:
            self._events.tell(report.name, report.severity, report.text, group=group, fields=report.fields)
        if before.is_tripped and not flood.is_tripped and group in self._counts:
            counts = self._counts[group]
            counts.window.clear(counts.letters, counts.others, now=self._loop.time(), amnesty=flood.amnesty)
        self._tell(group, flood)
        if flood.stopped and not before.stopped:
            self._ending.add(group)
            for slot in tuple(self._slots(group)):
                slot.feed(Stop(End.LEAVE))
            self._ending.discard(group)

    def _tell(self, group: str, flood: Flood) -> None:
        order = order_for(flood)
        for slot in self._slots(group):
            key = (group, slot.number)
            if self._told.get(key, FloodOrder()) != order and slot.tell("flood", order=to_json(order)):
                self._told[key] = order

    def _spec(self, group: str) -> FloodSpec:
        return next((slot.group.flood for slot in self._slots(group)), FloodSpec())
