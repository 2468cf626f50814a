"""Conditions that people are told of while they last, and once more when they are over. Pure.

Events tell moments (a death, a dead letter that could not be written); a condition is a state that is read off
snapshots: a slot that stays down, a group that settles nothing. It *fires* once it was true for ``after`` seconds
and is *resolved* once it was not for ``CLEAR`` seconds, so that one that flaps is told once.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

from supervisor.core.durations import format_duration
from supervisor.core.events import Severity
from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.core.spec import FloodAction

CLEAR = 30.0
"""Seconds that a firing condition must be untrue before it is over."""
RESTORED = 120.0
"""Seconds after a restart for workers to be up, and lag to be read, before what fired before is over."""
WINDOW = 60.0
"""Seconds over which dead letters are counted."""


class Kind(StrEnum):
    """What may be told; the names are keys of ``[alerting.conditions]``."""

    WORKER_DOWN = "worker_down"
    GROUP_DOWN = "group_down"
    NO_PROGRESS = "no_progress"
    LAG = "lag"
    OLDEST_RECORD = "oldest_record"
    DEAD_LETTERS = "dead_letters"
    COMMITS_FAILING = "commits_failing"
    BROKER_UNREACHABLE = "broker_unreachable"
    DEPENDENCY_DOWN = "dependency_down"
    FLOOD = "flood"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a condition is told. ``above`` is the limit of those that have one; without it they are never true."""

    severity: Severity
    after: float
    above: float | None = None


Rules = Mapping[Kind, Rule]


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that is true now, of a group or one of its slots; ``text`` says what a person should read."""

    kind: Kind
    group: str
    slot: int | None
    text: str
    value: float | None = None

    @property
    def key(self) -> "Key":
        """What stays the same while it lasts."""
        return self.kind, self.group, self.slot


Key = tuple[Kind, str, int | None]


@dataclass(frozen=True, slots=True)
class Change:
    """A condition that began to fire, or is over. ``since`` (monotonic) is when it became true."""

    finding: Finding
    severity: Severity
    is_firing: bool
    since: float


@dataclass(frozen=True, slots=True)
class Standing:
    """A condition that is true, or was a moment ago; ``fired`` once people were told."""

    finding: Finding
    severity: Severity
    since: float
    seen: float
    fired: bool = False


@dataclass(slots=True)
class _Seen:
    """What is remembered of a slot between two looks: its counters, and when something moved."""

    settled: int = 0
    dead_lettered: int = 0
    commits: int = 0
    commit_errors: int = 0
    fails: bool = False
    """Whether commits failed and none succeeded since."""
    held_at: float = -inf
    """When it was last seen to be paused."""


@dataclass(slots=True)
class _Group:
    """What is remembered of a group; ``held_at``: when it was last seen to be held for a cause of its own."""

    settled_at: float
    held_at: float = -inf
    letters: deque[tuple[float, int]] = field(default_factory=deque)


class Conditions:
    """Reads snapshots, a few seconds apart, and says what changed. Forgets slots and groups that are gone."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._slots: dict[tuple[str, int], _Seen] = {}
        self._groups: dict[str, _Group] = {}
        self._standing: dict[Key, Standing] = {}

    @property
    def firing(self) -> tuple[Standing, ...]:
        """What people were told and is not over."""
        return tuple(one for one in self._standing.values() if one.fired)

    def restore(self, finding: Finding, severity: Severity, *, since: float, now: float) -> None:
        """Take up what people were told of by an earlier supervisor; it has ``RESTORED`` seconds to be seen again."""
        seen = now + RESTORED - CLEAR
        self._standing[finding.key] = Standing(finding, severity, since=since, seen=seen, fired=True)

    def replan(self, rules: Rules) -> None:
        """Judge by other rules from now on; what fires by none of them is over at the next look."""
        self._rules = rules

    def look(self, snapshot: Snapshot, *, now: float) -> tuple[Change, ...]:
        """Return what began or ended with this snapshot; ``now`` is monotonic."""
        self._remember(snapshot, now=now)
        found = {one.key: one for one in self._findings(snapshot, now=now) if one.kind in self._rules}
        return (*self._fired(found, now=now), *self._over(found, now=now))

    def _fired(self, found: Mapping[Key, Finding], *, now: float) -> Iterator[Change]:
        for key, finding in found.items():
            rule = self._rules[finding.kind]
            old = self._standing.get(key) or Standing(finding, rule.severity, since=now, seen=now)
            fires = old.fired or now - old.since >= rule.after
            self._standing[key] = replace(old, finding=finding, severity=rule.severity, seen=now, fired=fires)
            if fires and not old.fired:
                yield Change(finding, rule.severity, is_firing=True, since=old.since)

    def _over(self, found: Mapping[Key, Finding], *, now: float) -> Iterator[Change]:
        for key, old in tuple(self._standing.items()):
            if key in found or (old.fired and now - old.seen < CLEAR and old.finding.kind in self._rules):
                continue
            del self._standing[key]
            if old.fired:
                yield Change(old.finding, old.severity, is_firing=False, since=old.since)

    # What the snapshots say.

    def _remember(self, snapshot: Snapshot, *, now: float) -> None:
        slots = {(slot.group, slot.slot): slot for group in snapshot.groups for slot in group.slots}
        self._slots = {key: seen for key, seen in self._slots.items() if key in slots}
        names = {group.name for group in snapshot.groups}
        self._groups = {name: seen for name, seen in self._groups.items() if name in names}
        for group in snapshot.groups:
            seen = self._groups.setdefault(group.name, _Group(settled_at=now))
            moved = [self._moved(slot, seen, now=now) for slot in group.slots]
            for slot in group.slots:
                if slot.paused:
                    self._slots[slot.group, slot.slot].held_at = now
            if _is_held(group):
                seen.settled_at = seen.held_at = now
            if any(moved) or not _backlog(group):
                seen.settled_at = now
            while seen.letters and seen.letters[0][0] <= now - WINDOW:
                seen.letters.popleft()

    def _moved(self, slot: SlotSnapshot, group: _Group, *, now: float) -> bool:
        """Take a slot's counters; they begin anew with each incarnation. Tell whether it settled anything."""
        seen = self._slots.get((slot.group, slot.slot))
        stats = slot.stats
        if seen is None:
            seen = self._slots[slot.group, slot.slot] = _Seen()
            if stats is not None:  # what was settled before anybody looked is no news
                seen.settled, seen.dead_lettered = stats.settled, stats.dead_lettered
                seen.commits, seen.commit_errors = stats.commits, sum(stats.commit_errors.values())
            return True
        if stats is None:
            self._slots[slot.group, slot.slot] = _Seen()
            return False
        letters = _grown(seen.dead_lettered, stats.dead_lettered)
        if letters:
            group.letters.append((now, letters))
        errors = sum(stats.commit_errors.values())
        if _grown(seen.commits, stats.commits):
            seen.fails = False
        elif _grown(seen.commit_errors, errors):
            seen.fails = True
        moved = _grown(seen.settled, stats.settled) > 0
        seen.settled, seen.dead_lettered = stats.settled, stats.dead_lettered
        seen.commits, seen.commit_errors = stats.commits, errors
        return moved

    def _findings(self, snapshot: Snapshot, *, now: float) -> Iterator[Finding]:
        for group in snapshot.groups:
            yield from self._of_group(group, now=now)
            for slot in group.slots:
                yield from self._of_slot(slot)

    def _of_group(self, group: GroupSnapshot, *, now: float) -> Iterator[Finding]:
        yield from _causes(group)
        wanted = [slot for slot in group.slots if SlotState.STOPPED not in (slot.state, slot.after)]
        if wanted and not any(slot.state in _UP for slot in wanted):
            reason = next((slot.reason for slot in wanted if slot.reason), "")
            yield Finding(Kind.GROUP_DOWN, group.name, None, f"no worker runs: {reason}".removesuffix(": "))
        seen = self._groups[group.name]
        idle, backlog = now - seen.settled_at, _backlog(group)
        told = [slot for slot in wanted if not slot.paused]
        if backlog and idle > 0 and any(slot.state is SlotState.RUNNING for slot in told):
            waits = sorted({slot.stats.waits for slot in told if slot.stats is not None and slot.stats.waits})
            why = f"; workers say: {', '.join(waits)}" if waits else ""
            yield Finding(
                Kind.NO_PROGRESS, group.name, None, f"{backlog} records wait and none is settled{why}", backlog
            )
        lag = group.lag.total if group.lag is not None else None
        if lag is not None and self._is_above(Kind.LAG, lag):
            yield Finding(Kind.LAG, group.name, None, f"{lag} records behind", lag)
        before = self._standing.get((Kind.LAG, group.name, None))
        if group.lag is not None and lag is None and before is not None and before.fired:
            last = before.finding  # nobody can tell that it is over
            if self._is_above(Kind.LAG, math.inf if last.value is None else last.value):
                yield last
        letters = sum(count for _, count in seen.letters)
        if self._is_above(Kind.DEAD_LETTERS, letters):
            yield Finding(Kind.DEAD_LETTERS, group.name, None, f"{letters} dead letters within a minute", letters)
        oldest = max((self._oldest(slot, seen, now=now) for slot in group.slots), default=0.0)
        if oldest:
            text = f"a record was delivered {format_duration(oldest)} ago and is not settled"
            yield Finding(Kind.OLDEST_RECORD, group.name, None, text, round(oldest, 1))

    def _oldest(self, slot: SlotSnapshot, group: _Group, *, now: float) -> float:
        """Return the age of a slot's oldest record if it is above the limit for no cause that is known, or 0."""
        if slot.stats is None:
            return 0.0
        free = now - max(group.held_at, self._slots[slot.group, slot.slot].held_at)
        return slot.stats.oldest if self._is_above(Kind.OLDEST_RECORD, min(slot.stats.oldest, free)) else 0.0

    def _of_slot(self, slot: SlotSnapshot) -> Iterator[Finding]:
        if slot.state in _DOWN:
            text = f"{slot.state.value}: {slot.reason}".removesuffix(": ")
            yield Finding(Kind.WORKER_DOWN, slot.group, slot.slot, text)
        stats = slot.stats
        if stats is None:
            return
        if stats.waits == "broker":
            yield Finding(Kind.BROKER_UNREACHABLE, slot.group, slot.slot, "no broker can be reached")
        if self._slots[slot.group, slot.slot].fails:
            codes = ", ".join(f"{code} ({count})" for code, count in sorted(stats.commit_errors.items()))
            text = f"no commit succeeds: {codes}".removesuffix(": ")
            yield Finding(Kind.COMMITS_FAILING, slot.group, slot.slot, text)

    def _is_above(self, kind: Kind, value: float) -> bool:
        rule = self._rules.get(kind)
        return rule is not None and rule.above is not None and value > rule.above


def _is_held(group: GroupSnapshot) -> bool:
    """Tell whether the group as a whole begins nothing for a cause that is told, or that an operator knows."""
    is_flooded = group.flood is not None and group.flood.action != FloodAction.SHED
    return group.paused or group.breaker is not None or is_flooded


def _causes(group: GroupSnapshot) -> Iterator[Finding]:
    """Yield why a group as a whole holds its records back, or lets them go."""
    if group.breaker is not None:
        text = f"{group.breaker.dependency} is down: no record is begun until it is back"
        yield Finding(Kind.DEPENDENCY_DOWN, group.name, None, text)
    if group.flood is not None:
        text = f"{group.flood.reason}; by the flood guard's action {group.flood.action}: supervisor status"
        yield Finding(Kind.FLOOD, group.name, None, text)


_UP = (SlotState.RUNNING, SlotState.DRAINING, SlotState.STARTING)
_DOWN = (SlotState.BACKOFF, SlotState.FATAL)


def _backlog(group: GroupSnapshot) -> int:
    """Return how many records wait for this host's workers, those that are paused aside: on brokers, in queues."""
    stats = [slot.stats for slot in group.slots if slot.stats is not None and not slot.paused]
    return sum((one.lag or 0) + one.queued + one.in_flight for one in stats)


def _grown(before: int, after: int) -> int:
    """Return by how much a counter grew that begins anew with each incarnation."""
    return after - before if after >= before else after


def strongest(severities: Sequence[Severity]) -> Severity:
    """Return the most urgent of these."""
    return max(severities, key=tuple(Severity).index)
