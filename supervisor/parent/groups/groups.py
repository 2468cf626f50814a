"""The groups of a supervisor: looks at their slots, asks ``core.group_rules``, does what it says."""

import asyncio
from collections.abc import Callable, Mapping

from supervisor.core.group_rules import Ask, Group, GroupEffect, condition, look
from supervisor.core.slot import Report
from supervisor.parent.slots.runner import SlotRunner
from supervisor.parent.store.eventlog import EventLog

Runners = Mapping[tuple[str, int], SlotRunner]


class Groups:
    """The shell around each group's state, in the parent's loop. ``runners`` is asked anew at each look."""

    def __init__(self, runners: Callable[[], Runners], events: EventLog) -> None:
        self._runners = runners
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._groups: dict[str, Group] = {}
        self._stirred: dict[str, None] = {}
        self._busy = False

    def look(self) -> None:
        """Look at every group; about once a second."""
        names = dict.fromkeys(name for name, _ in self._runners())
        self._groups = {name: group for name, group in self._groups.items() if name in names}
        for name in names:
            self.stirred(name)

    def stirred(self, name: str) -> None:
        """Look at a group of which a slot has changed; what follows may change others."""
        self._stirred[name] = None
        if self._busy:
            return
        self._busy = True
        try:
            while self._stirred:
                self._look(next(iter(self._stirred)))
        finally:
            self._busy = False

    def condition(self, name: str) -> str:
        """Return in words what is not as usual with a group."""
        return condition(self._groups.get(name, Group()))

    def _look(self, name: str) -> None:
        del self._stirred[name]
        slots = {number: runner for (group, number), runner in self._runners().items() if group == name}
        if not slots:
            return
        policy = next(iter(slots.values())).group.policy
        states = {number: runner.slot for number, runner in slots.items()}
        group, effects = look(policy, self._groups.get(name, Group()), states, now=self._loop.time())
        self._groups[name] = group
        for effect in effects:
            self._perform(name, slots, effect)

    def _perform(self, name: str, slots: Mapping[int, SlotRunner], effect: GroupEffect) -> None:
        match effect:
            case Ask():
                slots[effect.slot].feed(effect.demand)
            case Report():
                self._events.tell(effect.name, effect.severity, effect.text, group=name, fields=effect.fields)
