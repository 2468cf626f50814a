"""What a reading of a group's lag means for its number of workers: more, fewer, or a word that some are idle."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from supervisor.core.autoscale import Scaling, advise
from supervisor.core.events import Scalar, Severity
from supervisor.core.lag import GroupLag, supervisors
from supervisor.parent.plan import Plan
from supervisor.parent.store.eventlog import EventLog

GAP = 60.0
"""Seconds without a reading after which nothing is known of the time between."""


NUMBERS = ("lag", "lagging", "stuck", "partitions", "hosts")
"""What the event of a change says besides its text: fields of ``Advice``."""


class Scalable(Protocol):
    """What is needed of the supervisor."""

    plan: Plan
    events: EventLog

    @property
    def groups(self) -> Mapping[str, int]:
        """Each group's number of slots."""
        ...

    def rests(self, group: str) -> bool:
        """Tell whether nothing of a group is to work now."""
        ...

    def scale(self, group: str, workers: int, *, reason: str, fields: Mapping[str, Scalar] | None = None) -> None:
        """Give a group so many slots, and tell the event of it."""
        ...


class Sizing:
    """Hears every reading, in the parent's loop. ``is_busy``: a group whose slots somebody else has in hand."""

    def __init__(self, supervisor: Scalable, *, is_busy: Callable[[str], bool]) -> None:
        self._supervisor = supervisor
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self._memory: dict[str, Scaling] = {}
        self._heard_at: dict[str, float] = {}
        self._told_idle: dict[str, tuple[int, int]] = {}

    def heard(self, group: str, lag: GroupLag) -> None:
        """Take a new reading; scale the group if it says so."""
        workers = self._supervisor.groups.get(group)
        plan = next((plan for plan in self._supervisor.plan.groups if plan.name == group), None)
        if workers is None or plan is None:
            return
        if plan.scaling is None:
            self._memory.pop(group, None)
            self._tell_idle(group, workers, len(lag.partitions))
            return
        now = self._loop.time()
        memory = self._memory.get(group, Scaling())
        hosts = 1 if lag.members is None else supervisors(lag.members, group, own=self._supervisor.plan.supervisor)
        # A group that an operator stopped or paused lags, too; a worker more would undo what was asked for.
        is_known = lag.total is not None and not self._is_busy(group) and not self._supervisor.rests(group)
        # What waits in retry topics is no work yet, and nobody can tell from offsets how much of it is due.
        counted = [one for one in lag.partitions if one.topic not in plan.retry_topics]
        if now - self._heard_at.get(group, now) > GAP:
            memory, _ = advise(plan.scaling, memory, None, workers=workers, hosts=hosts, now=now)
        self._heard_at[group] = now
        self._memory[group], advice = advise(
            plan.scaling, memory, counted if is_known else None, workers=workers, hosts=hosts, now=now
        )
        if advice is not None:
            numbers: dict[str, Scalar] = {name: getattr(advice, name) for name in NUMBERS}
            self._supervisor.scale(group, advice.workers, reason=advice.reason, fields=numbers)

    def _tell_idle(self, group: str, workers: int, partitions: int) -> None:
        """Tell once that some workers can have no partition."""
        if not partitions or workers <= partitions:
            self._told_idle.pop(group, None)
            return
        if self._told_idle.get(group) == (workers, partitions):
            return
        self._told_idle[group] = (workers, partitions)
        text = f"{workers} workers for {partitions} partitions: {workers - partitions} of them will be idle"
        fields = {"workers": workers, "partitions": partitions}
        self._supervisor.events.tell("group.idle_workers", Severity.WARNING, text, group=group, fields=dict(fields))
