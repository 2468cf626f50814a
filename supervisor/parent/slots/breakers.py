"""The dependency breakers of all groups: what one worker says of its own holds for all of its group on this host.

The rules are in ``core.breaker``. Each worker is told when what it should do is not what it was told last, so a frame
that came too late, or a worker that is new, needs no rule of its own.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from supervisor.core.breaker import Breaker, Group, Step, heard_down, heard_nothing, heard_up, look, order_for, words
from supervisor.core.frames import Frame
from supervisor.core.jsonable import to_json
from supervisor.core.snapshot import BreakerSnapshot
from supervisor.core.spec import BreakerOrder
from supervisor.parent.store.eventlog import EventLog

if TYPE_CHECKING:
    from supervisor.parent.slots.runner import SlotRunner

PATIENCE = 30.0
"""Seconds beyond its handler's time after which a prober that says nothing is no prober any more."""


class Breakers:
    """The shell around each group's breaker, in the parent's loop. ``slots`` returns all of a group."""

    def __init__(self, slots: "Callable[[str], Sequence[SlotRunner]]", events: EventLog) -> None:
        self._slots = slots
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._breakers: dict[str, Breaker] = {}
        self._since: dict[str, float] = {}
        """Wall times, for people."""
        self._told: dict[tuple[str, int], BreakerOrder] = {}

    def heard(self, group: str, slot: int, frame: Frame) -> None:
        """Take what a worker says of its breaker; ``KeyError`` or ``ValueError`` when it is no such frame."""
        now, before = self._loop.time(), self._breakers.get(group, Breaker())
        match frame["state"]:
            case "down":
                failures, after = int(frame["failures"]), max(0.0, float(frame["after"]))
                self._take(
                    group,
                    heard_down(
                        before,
                        slot,
                        str(frame["name"]),
                        failures=failures,
                        after=after,
                        patience=self._patience(group),
                        now=now,
                    ),
                )
            case "up":
                self._take(group, heard_up(before, by=f"slot {slot}", now=now))
            case "nothing":
                patience, idle = self._patience(group), frame.get("idle") is True
                self._take(
                    group, heard_nothing(before, slot, self._group(group), idle=idle, patience=patience, now=now)
                )

    def stirred(self, group: str) -> None:
        """Look at a group of which a slot has changed, or a second went by."""
        breaker = self._breakers.get(group)
        if breaker is not None:
            now = self._loop.time()
            self._take(group, (look(breaker, self._group(group), patience=self._patience(group), now=now), ()))

    def look(self) -> None:
        """Look at every group; about once a second."""
        for group in tuple(self._breakers):
            self.stirred(group)

    def keep(self, groups: Collection[str]) -> None:
        """Forget all other groups."""
        self._breakers = {name: breaker for name, breaker in self._breakers.items() if name in groups}

    def resume(self, group: str) -> bool:
        """Have a group go on by an operator's word; return whether its breaker was open."""
        breaker = self._breakers.get(group, Breaker())
        if breaker.is_open:
            self._take(group, heard_up(breaker, by="an operator", now=self._loop.time()))
        return breaker.is_open

    def order(self, group: str, slot: int) -> BreakerOrder:
        """Return what a new worker of a slot is to be told with its spec."""
        order = order_for(self._breakers.get(group, Breaker()), slot, now=self._loop.time())
        self._told[group, slot] = order
        return order

    def snapshot(self, group: str) -> BreakerSnapshot | None:
        """Return what people may see of a group's breaker, ``None`` while it is closed."""
        breaker = self._breakers.get(group, Breaker())
        if not breaker.is_open:
            return None
        left = None if breaker.prober is None else round(max(0.0, breaker.probe_at - self._loop.time()), 3)
        return BreakerSnapshot(breaker.name, self._since[group], breaker.prober, left, breaker.failures)

    def words(self, group: str) -> str:
        """Return a group's breaker in words, empty while it is closed."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._since.get(group, 0.0)))
        return words(self._breakers.get(group, Breaker()), since=since, now=self._loop.time())

    def _take(self, group: str, step: Step) -> None:
        breaker, reports = step
        if breaker.is_open and not self._breakers.get(group, Breaker()).is_open:
            self._since[group] = time.time()
        self._breakers[group] = breaker
        for report in reports:
            self._events.tell(report.name, report.severity, report.text, group=group, fields=report.fields)
        now = self._loop.time()
        for slot in self._slots(group):
            order, key = order_for(breaker, slot.number, now=now), (group, slot.number)
            before = self._told.get(key, BreakerOrder())
            if (order.is_open, order.name, order.probes) == (before.is_open, before.name, before.probes):
                continue
            if slot.tell("breaker", order=to_json(order)):
                self._told[key] = order

    def _group(self, group: str) -> Group:
        slots = self._slots(group)
        are_up = [slot.number for slot in slots if not slot.is_down]
        return Group(all=are_up, present=[slot.number for slot in slots if slot.can_work])

    def _patience(self, group: str) -> float:
        return max((slot.group.limits.handler_timeout for slot in self._slots(group)), default=0.0) + PATIENCE
