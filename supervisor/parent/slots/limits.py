"""Hold workers to what they may use: look at all slots about once a second, tell each what its readings mean."""

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from supervisor.core.events import Severity
from supervisor.core.limits import Allowance, History, TooHeavy, Usage, Worn, first_of, remember, weigh
from supervisor.core.slot import Overweight, Recycle
from supervisor.core.slot_rules import can_recycle, is_moving
from supervisor.parent.slots.telemetry import Telemetry

if TYPE_CHECKING:
    from supervisor.parent.slots.runner import SlotRunner


class SlotLimits:
    """One slot's limits, over all its incarnations."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._history = History()
        self._random = random.Random()  # noqa: S311 - jitter
        self._seen: Telemetry | None = None
        self._chance = 0.0

    def weigh(self, seen: Telemetry | None, *, now: float) -> Worn | TooHeavy | None:
        """Judge the slot's present worker by what was last seen of it."""
        if seen is None:
            return None
        if seen is not self._seen:  # another incarnation: its limits are drawn anew
            self._seen, self._chance = seen, self._random.random()
        return weigh(self._allowance, _usage(seen, now=now), self._history, chance=self._chance)

    def replaced(self, worn: Worn, seen: Telemetry, *, now: float) -> Recycle:
        """Take down that the worker is replaced; return what the slot is told."""
        self._history = remember(self._history, worn, age=now - seen.since)
        if not self._history.in_vain or worn.limit != "rss_soft":
            return Recycle(worn.text, fields=worn.fields)
        text = f"{worn.text}, soon after it was recycled for that; raise rss_soft, or find what holds the memory"
        fields = {**worn.fields, "in_vain": self._history.in_vain, "not_again_for": self._history.patience}
        return Recycle(text, Severity.WARNING, fields)


def hold_to_limits(runners: Iterable["SlotRunner"], *, now: float) -> None:
    """Have workers that are over a limit replaced, one of a group at a time, or ended. In the parent's loop."""
    groups: dict[str, list[SlotRunner]] = {}
    for runner in runners:
        groups.setdefault(runner.group.name, []).append(runner)
    for slots in groups.values():
        found = [runner.limits.weigh(runner.telemetry, now=now) for runner in slots]
        for runner, verdict in zip(slots, found, strict=True):
            if isinstance(verdict, TooHeavy):
                runner.feed(Overweight(verdict.text, verdict.fields))
        worn = [
            verdict if isinstance(verdict, Worn) and can_recycle(runner.slot) else None
            for runner, verdict in zip(slots, found, strict=True)
        ]
        place = first_of(worn, is_moving=any(is_moving(runner.slot) for runner in slots))
        if place is not None and (one := worn[place]) is not None and (seen := slots[place].telemetry) is not None:
            slots[place].feed(slots[place].limits.replaced(one, seen, now=now))


def _usage(seen: Telemetry, *, now: float) -> Usage:
    settled = seen.stats.settled if seen.stats is not None else None
    return Usage(age=now - seen.since, rss=seen.reading.rss_bytes, settled=settled)
