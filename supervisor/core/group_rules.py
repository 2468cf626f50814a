"""What is decided for a group as a whole, from its slots: to try only one of them, or to give it up. Pure.

A group that fails as a whole (a dependency is down, a release is broken) is not helped by many starts. It goes
*half-open*: one slot, the canary, starts by its own backoff, all others that have failed wait. When the canary is
healthy the others follow, each time as many as run already.

A group is given up only for what never worked: a worker that calls its configuration wrong, or starts in a row
of which none became ready in any slot. A worker that is ready is left alone even then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.core.durations import format_duration
from supervisor.core.events import Severity
from supervisor.core.exits import ExitClass
from supervisor.core.slot import Demand, GiveUp, Park, Policy, Process, Release, Report, Slot
from supervisor.core.snapshot import SlotState

RAMP_STEP = 1.0
"""Seconds that those who follow the canary must have been running before the next ones follow."""

Slots = Mapping[int, Slot]


class Phase(StrEnum):
    """How a group is tried."""

    WHOLE = "whole"
    HALF_OPEN = "half-open"
    RAMPING = "ramping"


@dataclass(frozen=True, slots=True)
class Group:
    """A group at one moment. ``since``: failures and health before it count no more (monotonic seconds)."""

    phase: Phase = Phase.WHOLE
    canary: int | None = None
    since: float = float("-inf")
    hopeless: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Ask:
    """Let ``demand`` happen to a slot."""

    slot: int
    demand: Demand


GroupEffect = Ask | Report
GroupStep = tuple[Group, tuple[GroupEffect, ...]]


def look(policy: Policy, group: Group, slots: Slots, *, now: float) -> GroupStep:
    """Return the group after a look at its slots, and what is to be done.

    To be called when a slot has changed and about once a second. The caller stores the group before it performs
    the effects, in their order.
    """
    hopeless = frozenset(number for number, slot in slots.items() if slot.hopeless)
    known, group = group.hopeless, replace(group, hopeless=hopeless)
    wanted = {number: slot for number, slot in slots.items() if slot.wanted}
    reason = _never_ready(policy, slots, wanted)
    if new := sorted(hopeless - known):
        reason = slots[new[0]].reason
    if reason:
        orders = tuple(Ask(number, GiveUp(reason)) for number in wanted)
        return Group(since=now, hopeless=hopeless), (Report("group.fatal", Severity.CRITICAL, reason), *orders)
    if not wanted:
        return (replace(group, phase=Phase.WHOLE, canary=None), ()) if group.phase is not Phase.WHOLE else (group, ())
    match group.phase:
        case Phase.WHOLE:
            text = _fails(policy, group, wanted, now=now)
            return _half_open(group, wanted, now=now, text=text) if text else (group, ())
        case Phase.HALF_OPEN:
            return _try(policy, group, wanted, now=now)
        case Phase.RAMPING:
            return _ramp(group, wanted, now=now)


def condition(group: Group) -> str:
    """Return in words what is not as usual with the group; empty when all is."""
    match group.phase:
        case Phase.HALF_OPEN:
            return f"half-open: the others wait until slot {group.canary} is healthy"
        case Phase.RAMPING:
            return f"half-open: slot {group.canary} is healthy, the others follow"
        case _:
            return ""


def _never_ready(policy: Policy, slots: Slots, wanted: Slots) -> str:
    starts = sum(slot.never_ready for slot in wanted.values())
    if starts < policy.never_ready_limit or any(slot.ever_ready for slot in slots.values()):
        return ""
    last = max(wanted.values(), key=_failed_at)
    return f"not ready in {starts} starts; the last one: {last.reason}"


def _fails(policy: Policy, group: Group, wanted: Slots, *, now: float) -> str:
    """Say how the group fails as a whole; empty when it does not.

    Most slots must take part: a single one that dies again and again is its own matter, and must not hold the others.
    """
    if not policy.group_failures:
        return ""
    begin = max(group.since, now - policy.group_window)
    failures = [sum(at > begin for at in slot.failed_at) for slot in wanted.values()]
    failing = sum(count > 0 for count in failures)
    if sum(failures) > max(policy.group_failures, len(wanted)) and 2 * failing > len(wanted):
        window = format_duration(policy.group_window)
        return f"{sum(failures)} failures in {window} of {failing} of {len(wanted)} slots"
    down = sum(_is_down(policy, slot) for slot in wanted.values())
    return f"{down} of {len(wanted)} slots are down" if len(wanted) > 1 and 2 * down > len(wanted) else ""


def _half_open(group: Group, wanted: Slots, *, now: float, text: str = "") -> GroupStep:
    canary = _next_canary(wanted)
    half = replace(group, phase=Phase.HALF_OPEN, canary=canary, since=now)
    report = Report("group.half_open", Severity.CRITICAL, f"{text}; slot {canary} is tried first", {"canary": canary})
    parks = [Ask(number, Park()) for number in wanted if number != canary]
    return half, (*((report,) if text else ()), *parks, *_freed(canary, wanted))


def _try(policy: Policy, group: Group, wanted: Slots, *, now: float) -> GroupStep:
    canary = group.canary
    if canary is None or canary not in wanted:
        canary = _next_canary(wanted)
        return replace(group, canary=canary, since=now), _freed(canary, wanted)
    well = sum(_is_healthy(policy, group, slot, now=now) for slot in wanted.values())
    if _is_healthy(policy, group, wanted[canary], now=now) or 2 * well > len(wanted):
        return _ramp(replace(group, phase=Phase.RAMPING, since=now), wanted, now=now)
    # An operator or a change of scale may have started others; when they fail they wait, too.
    late = [number for number, slot in wanted.items() if number != canary and not slot.parked and slot.failures]
    return group, tuple(Ask(number, Park()) for number in late)


def _ramp(group: Group, wanted: Slots, *, now: float) -> GroupStep:
    free = [slot for slot in wanted.values() if not slot.parked]
    if 2 * sum(_failed_at(slot) > group.since for slot in free) > len(free):
        return _half_open(group, wanted, now=now)
    parked = [number for number, slot in wanted.items() if slot.parked]
    waiting = [number for number in parked if wanted[number].state is not SlotState.RUNNING]
    going = [number for number in parked if number not in waiting]
    if not any(_is_new(slot, now=now) for slot in wanted.values()):
        running = sum(slot.state is SlotState.RUNNING for slot in wanted.values())
        going += waiting[: max(1, running)]
    orders = tuple(Ask(number, Release()) for number in going)
    if len(going) < len(parked):
        return group, orders
    report = Report("group.recovered", Severity.INFO, f"slot {group.canary} is healthy; all others may start")
    return replace(group, phase=Phase.WHOLE, canary=None, since=now), (*orders, report)


def _next_canary(wanted: Slots) -> int:
    """Return the slot that starts first of those that wait, or that failed last when none does."""
    waiting = [number for number, slot in wanted.items() if _waits(slot)]
    if waiting:
        return min(waiting, key=lambda number: (wanted[number].start_at, number))
    return max(wanted, key=lambda number: (_failed_at(wanted[number]), -number))


def _freed(canary: int, wanted: Slots) -> tuple[Ask, ...]:
    return (Ask(canary, Release()),) if wanted[canary].parked else ()


def _failed_at(slot: Slot) -> float:
    return slot.failed_at[-1] if slot.failed_at else float("-inf")


def _waits(slot: Slot) -> bool:
    waits = (SlotState.BACKOFF, SlotState.LEAVING)
    return slot.state in waits and (slot.process is Process.NONE or slot.after is SlotState.BACKOFF)


def _is_down(policy: Policy, slot: Slot) -> bool:
    """Tell whether a slot waits so long that it left; two supervisors of one name are no failure of the group."""
    return _waits(slot) and slot.last_delay > policy.failover_after and slot.last_exit is not ExitClass.FENCED


def _is_new(slot: Slot, *, now: float) -> bool:
    if slot.state is SlotState.RUNNING and slot.healthy_since is not None:
        return now - slot.healthy_since < RAMP_STEP
    return slot.state is SlotState.STARTING


def _is_healthy(policy: Policy, group: Group, slot: Slot, *, now: float) -> bool:
    if slot.state is not SlotState.RUNNING or slot.healthy_since is None:
        return False
    return now - max(slot.healthy_since, group.since) >= policy.canary_healthy
