"""The moves that a slot's rules are made of: fill it, empty it, let it rest, end its process. Pure."""

from dataclasses import replace

from supervisor.core.slot import CancelSpawn, Effects, Policy, Process, Rung, SendStop, Signal, Slot, Spawn, Step
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode

PARKED_LOOK = 60.0
"""Seconds between looks at a slot that waits for its group's canary; the group releases it much earlier, or never."""

LEAVE_TRIES = 2
"""A process that could not leave is followed by one more; then the broker's session timeout must do."""


def spawn(slot: Slot, mode: Mode, *, effects: Effects = ()) -> Step:
    """Ask for a process; the first effect is ``effects``, for what must come before it."""
    asked = replace(
        slot,
        state=SlotState.STARTING if mode is Mode.WORK else SlotState.LEAVING,
        process=Process.ASKED,
        mode=mode,
        incarnation=slot.incarnation + 1,
        deadline=None,
        fast=slot.fast and mode is Mode.LEAVE,
    )
    return asked, (*effects, Spawn(asked.incarnation, mode))


def vacate(slot: Slot) -> Slot:
    """Return the slot without its process."""
    return replace(
        slot,
        process=Process.NONE,
        rung=Rung.NONE,
        deadline=None,
        asked=False,
        hung=False,
        worn=False,
        heavy=False,
        ready=False,
        joined=False,
        healthy_since=None,
    )


def rest(policy: Policy, slot: Slot, state: SlotState, *, now: float, end: End = End.LEAVE) -> Step:
    """Let the empty slot rest in ``state``; by way of LEAVING when its dead member would keep the partitions."""
    is_short = state is SlotState.BACKOFF and slot.start_at - now <= policy.failover_after and not slot.parked
    leaves = policy.is_static and slot.member and end is End.LEAVE and not slot.fast and not is_short
    if leaves and slot.failed_leaves < LEAVE_TRIES:
        return spawn(replace(slot, after=state), Mode.LEAVE)
    deadline = max(slot.start_at, now + PARKED_LOOK) if slot.parked else slot.start_at
    return replace(slot, state=state, deadline=deadline if state is SlotState.BACKOFF else None), ()


def start_again(slot: Slot, *, now: float) -> Step:
    """End the slot's waiting; a parked one goes on waiting."""
    if slot.parked:
        return replace(slot, deadline=now + PARKED_LOOK), ()
    return spawn(replace(slot, restarts=slot.restarts + 1), Mode.WORK)


def after_leave(policy: Policy, slot: Slot, *, now: float) -> Step:
    """Go on to what LEAVING was on the way to."""
    match slot.after:
        case SlotState.BACKOFF if now < slot.start_at or slot.parked:
            return rest(policy, slot, SlotState.BACKOFF, now=now)
        case SlotState.BACKOFF:
            return start_again(slot, now=now)
        case SlotState.STARTING:
            return spawn(slot, Mode.WORK)
        case _:
            return rest(policy, slot, slot.after, now=now)


def climb(policy: Policy, slot: Slot, rung: Rung, *, now: float, effects: Effects = ()) -> Step:
    """Put the process on ``rung`` of the ladder, with that rung's own deadline."""
    patience = {
        Rung.DUMP: policy.dump_timeout,
        Rung.TERM: policy.hung_timeout if slot.hung else policy.term_timeout,
        Rung.ABORT: policy.abort_timeout,
        Rung.KILL: policy.kill_timeout,
    }
    state = SlotState.LEAVING if slot.mode is Mode.LEAVE else SlotState.DRAINING
    on = replace(slot, state=state, rung=rung, deadline=now + patience[rung])
    return on, (*effects, Signal(rung))


def ask(policy: Policy, slot: Slot, *, now: float) -> Step:
    """Put the process on the ladder's first rung, or hurry it when it is there already."""
    drain = policy.fast_timeout if slot.fast else policy.stop_timeout
    if slot.fast:
        patience = policy.fast_timeout
    elif slot.ready:
        patience = policy.stop_timeout + policy.close_timeout
    else:
        patience = policy.term_timeout
    deadline = now + patience
    if slot.rung is not Rung.NONE and slot.deadline is not None:
        deadline = min(deadline, slot.deadline)
    asked = replace(slot, asked=True, state=SlotState.DRAINING, rung=max(slot.rung, Rung.ASK), deadline=deadline)
    return asked, (SendStop(slot.end, drain),)


def cancel(policy: Policy, slot: Slot, *, now: float, end: End) -> Step:
    """Forget the process that was asked for, and let the slot rest."""
    nobody = replace(slot, process=Process.NONE, mode=Mode.WORK)
    resting, effects = rest(policy, nobody, SlotState.STOPPED, now=now, end=end)
    return resting, (CancelSpawn(), *effects)
