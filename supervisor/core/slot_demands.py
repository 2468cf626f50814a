"""What a group asks of its slots: wait for the canary, go on, be given up. Pure."""

from dataclasses import replace

from supervisor.core.slot import CancelSpawn, Demand, GiveUp, Park, Policy, Process, Release, Slot, Step
from supervisor.core.slot_moves import ask, rest, start_again
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode


def demanded(policy: Policy, slot: Slot, demand: Demand, *, now: float) -> Step:
    """Return the slot after a demand, and what is to be done."""
    match demand:
        case Park():
            return _park(policy, slot, now=now)
        case Release():
            return _release(slot, now=now)
        case GiveUp(reason=reason):
            return _give_up(policy, slot, reason, now=now)


def _park(policy: Policy, slot: Slot, *, now: float) -> Step:
    """Let the slot wait until it is released; a live worker goes on, and waits when it has failed.

    Nobody knows how long that is: a dead member leaves the group at once, so that others get its partitions.
    """
    parked = replace(slot, parked=True)
    if slot.process is Process.ASKED and slot.mode is Mode.WORK:
        nobody = replace(parked, process=Process.NONE, start_at=now)
        resting, effects = rest(policy, nobody, SlotState.BACKOFF, now=now)
        return resting, (CancelSpawn(), *effects)
    if slot.process is Process.NONE and slot.state is SlotState.BACKOFF:
        return rest(policy, parked, SlotState.BACKOFF, now=now)
    return parked, ()


def _release(slot: Slot, *, now: float) -> Step:
    """Let the slot start as its own backoff has it."""
    free = replace(slot, parked=False)
    if slot.process is Process.NONE and slot.state is SlotState.BACKOFF:
        return start_again(free, now=now) if now >= slot.start_at else (replace(free, deadline=slot.start_at), ())
    return free, ()


def _give_up(policy: Policy, slot: Slot, reason: str, *, now: float) -> Step:
    """Bring the slot to FATAL; a worker that is ready proves that it can work, and goes on."""
    if not slot.wanted:
        return slot, ()
    hopeless = replace(slot, wanted=False, parked=False, reason=reason)
    if slot.process is Process.NONE:
        return rest(policy, hopeless, SlotState.FATAL, now=now)
    if slot.mode is Mode.LEAVE:
        return replace(hopeless, after=SlotState.FATAL), ()
    if slot.process is Process.ASKED:
        resting, effects = rest(policy, replace(hopeless, process=Process.NONE), SlotState.FATAL, now=now)
        return resting, (CancelSpawn(), *effects)
    if slot.ready:
        return slot, ()
    return ask(policy, replace(hopeless, doomed=True, end=End.LEAVE), now=now)
