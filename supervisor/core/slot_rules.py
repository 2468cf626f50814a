"""The machine of a slot's life: one pure step per thing that happens. Times and chance come in.

Uptime is compared with health, never with a fixed second; static members (KIP-345) keep their partitions
when they die, so a slot that stays down sends one more process that only leaves the group.
"""

from dataclasses import replace

from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar, Severity
from supervisor.core.slot import (
    CancelSpawn,
    Effects,
    Exited,
    GiveUp,
    Hold,
    Hung,
    Joined,
    Overweight,
    Park,
    Policy,
    Process,
    Ready,
    Recycle,
    Release,
    Report,
    Restart,
    Rung,
    SendStop,
    Slot,
    SlotEvent,
    Spawned,
    SpawnFailed,
    Start,
    Step,
    Stood,
    Stop,
    Tick,
)
from supervisor.core.slot_deaths import back_off, died, left
from supervisor.core.slot_demands import demanded
from supervisor.core.slot_moves import after_leave, ask, cancel, climb, rest, spawn, start_again
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode


def step(  # noqa: PLR0911 - one return per kind of event
    policy: Policy, slot: Slot, event: SlotEvent, *, now: float, chance: float
) -> Step:
    """Return the slot after ``event`` and what is to be done (``chance`` in [0, 1) is the jitter of a delay).

    The caller stores the slot before it performs the effects, in their order.
    """
    match event:
        case Tick(healthy=healthy):
            return _tick(policy, slot, now=now, healthy=healthy)
        case Start():
            return _start(slot)
        case Restart():
            return _restart(policy, slot, now=now)
        case Stop():
            return _stop(policy, slot, event, now=now)
        case Hold():
            return _hold(policy, slot, now=now)
        case Park() | Release() | GiveUp():
            return demanded(policy, slot, event, now=now)
        case Spawned() | SpawnFailed() if slot.process is Process.ASKED:
            return _answered(policy, slot, event, now=now, chance=chance)
        case _ if slot.process is Process.LIVE:
            return _lived(policy, slot, event, now=now, chance=chance)
        case _:
            return slot, ()


def is_down(slot: Slot) -> bool:
    """Tell whether the slot is at rest: no process fills it and none will without an operator."""
    return slot.process is Process.NONE and slot.state in (SlotState.STOPPED, SlotState.FATAL)


def can_recycle(slot: Slot) -> bool:
    """Tell whether the slot's process works and may be replaced: nobody ends it, and nobody holds the slot down."""
    return slot.state is SlotState.RUNNING and slot.ready and slot.wanted and not slot.held and not slot.asked


def is_moving(slot: Slot) -> bool:
    """Tell whether the slot is between two working processes: one ends, or the next is on its way."""
    return slot.state in (SlotState.DRAINING, SlotState.STARTING)


def _answered(policy: Policy, slot: Slot, event: Spawned | SpawnFailed, *, now: float, chance: float) -> Step:
    if isinstance(event, SpawnFailed):
        return _spawn_failed(policy, slot, event.text, now=now, chance=chance)
    return _spawned(policy, slot, event, now=now)


def _lived(policy: Policy, slot: Slot, event: SlotEvent, *, now: float, chance: float) -> Step:
    match event:
        case Exited():
            end = died if slot.mode is Mode.WORK else left
            return end(policy, slot, event, now=now, chance=chance)
        case Ready() if slot.mode is Mode.WORK and not slot.ready:
            return _ready(slot, now=now)
        case Joined() if slot.mode is Mode.WORK and not slot.joined:
            return _joined(slot)
        case Stood(seconds=seconds):
            return _forgive(slot, seconds), ()
        case Hung() if slot.ready and slot.rung is Rung.NONE:
            return _hung(policy, slot, event.text, now=now)
        case Recycle() if can_recycle(slot):
            report = Report("worker.recycled", event.severity, event.text, event.fields)
            asked, effects = ask(policy, replace(slot, worn=True, end=End.KEEP, reason=event.text), now=now)
            return asked, (report, *effects)
        case Overweight() if not slot.heavy and slot.rung <= Rung.ASK:
            heavy = replace(slot, heavy=True, reason=event.text)
            report = Report("worker.overweight", Severity.WARNING, event.text, event.fields)
            return climb(policy, heavy, Rung.TERM, now=now, effects=(report,))
        case _:
            return slot, ()


# What people ask for.


def _start(slot: Slot) -> Step:
    wanted = replace(slot, wanted=True, held=False, doomed=False, hopeless=False)
    if slot.process is not Process.NONE and slot.mode is Mode.WORK:
        return wanted, ()
    fresh = replace(
        wanted, failures=0, last_delay=0.0, never_ready=0, fencings=0, failed_leaves=0, fast=False, parked=False
    )
    if slot.process is Process.LIVE:
        return replace(fresh, after=SlotState.STARTING), ()
    cancel = (CancelSpawn(),) if slot.process is Process.ASKED else ()
    return spawn(fresh, Mode.WORK, effects=cancel)


def _restart(policy: Policy, slot: Slot, *, now: float) -> Step:
    if slot.process is not Process.LIVE or slot.mode is Mode.LEAVE or slot.asked:
        return _start(slot)
    return ask(policy, replace(slot, wanted=True, held=False, doomed=False, end=End.KEEP), now=now)


def _stop(policy: Policy, slot: Slot, event: Stop, *, now: float) -> Step:
    fast = slot.fast or event.fast
    unwanted = replace(slot, wanted=False, doomed=False, end=event.end, fast=fast)
    if slot.process is Process.NONE:
        return rest(policy, replace(unwanted, reason=""), SlotState.STOPPED, now=now, end=event.end)
    if slot.mode is Mode.LEAVE:
        if slot.process is Process.ASKED and (event.end is End.KEEP or fast):
            return cancel(policy, unwanted, now=now, end=End.KEEP)
        if fast and slot.rung is not Rung.KILL:
            return climb(policy, replace(unwanted, after=SlotState.STOPPED), Rung.KILL, now=now)
        return replace(unwanted, after=SlotState.STOPPED), ()
    if slot.process is Process.ASKED:
        return cancel(policy, replace(unwanted, reason=""), now=now, end=event.end)
    if slot.asked and (slot.end, slot.fast) == (event.end, fast):
        return unwanted, ()
    return ask(policy, unwanted, now=now)


def _hold(policy: Policy, slot: Slot, *, now: float) -> Step:
    held = replace(slot, held=True, end=End.LEAVE)
    if slot.mode is Mode.LEAVE and slot.process is not Process.NONE:
        after = SlotState.FATAL if slot.after is SlotState.FATAL else SlotState.STOPPED
        return replace(held, wanted=False, after=after), ()
    if slot.process is Process.LIVE:
        return replace(held, end=slot.end), ()
    down = replace(held, wanted=False, reason="held")
    if slot.process is Process.ASKED:
        return cancel(policy, down, now=now, end=End.LEAVE)
    if slot.state is SlotState.BACKOFF:
        return rest(policy, down, SlotState.STOPPED, now=now, end=End.LEAVE)
    return held, ()


# What the process does.


def _spawned(policy: Policy, slot: Slot, event: Spawned, *, now: float) -> Step:
    patience = policy.start_timeout if slot.mode is Mode.WORK else policy.leave_timeout
    live = replace(slot, process=Process.LIVE, deadline=now + patience)
    fields: dict[str, Scalar] = {"pid": event.pid, "incarnation": slot.incarnation, "mode": slot.mode.value}
    return live, (Report("slot.started", Severity.INFO, fields=fields),)


def _spawn_failed(policy: Policy, slot: Slot, text: str, *, now: float, chance: float) -> Step:
    nobody = replace(slot, process=Process.NONE)
    if slot.mode is Mode.LEAVE:
        return after_leave(policy, replace(nobody, failed_leaves=slot.failed_leaves + 1), now=now)
    return back_off(policy, nobody, f"cannot start a process: {text}", now=now, chance=chance)


def _ready(slot: Slot, *, now: float) -> Step:
    ready = replace(slot, ready=True, ever_ready=True, member=True, never_ready=0, failed_leaves=0, healthy_since=now)
    if slot.rung is Rung.NONE:
        ready = replace(ready, state=SlotState.RUNNING, deadline=None, reason="")
    return ready, (Report("worker.ready", Severity.INFO, fields={"incarnation": slot.incarnation}),)


def _joined(slot: Slot) -> Step:
    joined = replace(slot, joined=True, member=True)
    return joined, (Report("worker.joined", Severity.INFO, fields={"incarnation": slot.incarnation}),)


def _hung(policy: Policy, slot: Slot, text: str, *, now: float) -> Step:
    hung = replace(slot, hung=True, reason=text)
    report = Report("worker.hung", Severity.WARNING, text, {"incarnation": slot.incarnation})
    # Told at once to begin nothing more, so that the records beside what hangs finish while it is looked into.
    return climb(policy, hung, Rung.DUMP, now=now, effects=(report, SendStop(End.KEEP, policy.hung_timeout)))


# What time does.


def _tick(policy: Policy, slot: Slot, *, now: float, healthy: bool) -> Step:
    effects: Effects = ()
    if slot.state is SlotState.RUNNING:
        slot, effects = _health(policy, slot, now=now, healthy=healthy)
    if slot.deadline is None or now < slot.deadline:
        return slot, effects
    if slot.process is Process.NONE:
        return start_again(slot, now=now)
    match slot.rung:
        case Rung.NONE:
            return _late(policy, slot, now=now)
        case Rung.ASK:
            return climb(policy, slot, Rung.KILL if slot.fast else Rung.TERM, now=now)
        case Rung.DUMP:
            return climb(policy, slot, Rung.TERM, now=now)
        case Rung.TERM:
            # no core file of a process that was too big, and no time for one
            return climb(policy, slot, Rung.KILL if slot.fast or slot.heavy else Rung.ABORT, now=now)
        case Rung.ABORT | Rung.KILL:
            return climb(policy, slot, Rung.KILL, now=now)


def _health(policy: Policy, slot: Slot, *, now: float, healthy: bool) -> Step:
    if not healthy:
        return slot if slot.healthy_since is None else replace(slot, healthy_since=None), ()
    since = now if slot.healthy_since is None else slot.healthy_since
    if (slot.failures or slot.flapping) and now - since >= max(policy.healthy_after, 2 * slot.last_delay):
        steady = replace(slot, healthy_since=since, failures=0, last_delay=0.0, failed_at=(), flapping=False)
        text = f"healthy for {format_duration(now - since)}"
        return steady, (Report("worker.steady", Severity.INFO, text),) if slot.flapping else ()
    return slot if since == slot.healthy_since else replace(slot, healthy_since=since), ()


def _forgive(slot: Slot, seconds: float) -> Slot:
    return replace(
        slot,
        deadline=None if slot.deadline is None else slot.deadline + seconds,
        healthy_since=None if slot.healthy_since is None else slot.healthy_since + seconds,
    )


def _late(policy: Policy, slot: Slot, *, now: float) -> Step:
    if slot.mode is Mode.LEAVE:
        return climb(policy, slot, Rung.TERM, now=now)
    text = f"not ready after {format_duration(policy.start_timeout)}"
    report = Report("worker.hung", Severity.WARNING, text, {"incarnation": slot.incarnation})
    return climb(policy, replace(slot, reason=text), Rung.TERM, now=now, effects=(report,))
