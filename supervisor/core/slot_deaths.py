"""What follows from a death: start again, wait, leave the group, give up. Pure.

A slot gives itself up for a wrong configuration or a second fencing; what never worked is for the group to give
up (``core.group_rules``). After it was ready once it is started again for ever, with a capped delay.
"""

from dataclasses import replace

from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar, Severity
from supervisor.core.exits import ExitClass, ExitCode, classify, describe
from supervisor.core.slot import Exited, Policy, Report, Rung, Slot, Step
from supervisor.core.slot_moves import after_leave, rest, spawn, vacate
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode

REMEMBERED = 16
"""Failures of one slot that are kept, for what is judged by their number within a time."""


def died(policy: Policy, slot: Slot, event: Exited, *, now: float, chance: float) -> Step:
    """Decide what follows from the death of a worker."""
    kind = _class_of(slot, event)
    # A worker that was told by signal may have ended with keep: the signal says nothing of leaving.
    was_told = slot.ready and slot.asked and slot.end is End.LEAVE and slot.rung is Rung.ASK
    has_left = was_told and event.status == ExitCode.OK and event.left is not False
    empty = replace(
        vacate(slot),
        member=slot.member and not has_left and kind is not ExitClass.FENCED,
        reason=_cause(slot, event),
        last_exit=kind,
    )
    if not slot.wanted or slot.held:
        after, effects = _stay_down(policy, slot, empty, now=now)
    elif kind is ExitClass.CONFIG:
        reason = f"wrong configuration: {_plain(event.detail) or empty.reason}"
        after, effects = _give_up(policy, replace(empty, hopeless=True), reason, now=now)
    elif kind is ExitClass.FENCED:
        after, effects = _fenced(policy, empty, event.detail, now=now, chance=chance)
    elif kind is ExitClass.REQUESTED:
        after, effects = spawn(empty, Mode.WORK)
    elif kind is ExitClass.RECYCLE and slot.ready:
        after, effects = spawn(replace(empty, restarts=slot.restarts + 1), Mode.WORK)
    else:
        failure = ExitClass.STARTUP if kind is ExitClass.OOM and not slot.ready else kind
        after, effects = _failed(policy, empty, failure, accuses=event.accuses, now=now, chance=chance)
    return after, (_obituary(slot, event, after, kind=kind, now=now), *effects)


def left(policy: Policy, slot: Slot, event: Exited, *, now: float, chance: float) -> Step:  # noqa: ARG001 - as _died
    """Decide what follows from the end of a process that was to leave the group.

    One that says that it could not did what it was asked: it is no crash.
    """
    done = event.status == ExitCode.OK
    could_not = event.status == ExitCode.FAILURE and event.left is False and not event.oom
    gone = replace(
        vacate(slot),
        member=slot.member and not done and event.status != ExitCode.FENCED,
        failed_leaves=0 if done else slot.failed_leaves + 1,
    )
    after, effects = after_leave(policy, gone, now=now)
    kind = (
        ExitClass.REQUESTED
        if done or could_not
        else classify(event.status, was_ready=True, stop_requested=slot.asked, oom=event.oom)
    )
    obituary = _obituary(slot, event, after, kind=kind, now=now)
    if not done:
        obituary = replace(obituary, text=obituary.text + _member_stays(after))
    left = (Report("slot.left", Severity.INFO, "its partitions go to other members"),) if done else ()
    return after, (obituary, *left, *effects)


def _member_stays(after: Slot) -> str:
    """Return what becomes of a member that did not leave, where no worker takes it over."""
    if after.state is SlotState.LEAVING:
        return "; leaving is tried once more"
    is_left_alone = after.member and after.state is not SlotState.STARTING
    return "; its partitions wait until its session times out" if is_left_alone else ""


def _class_of(slot: Slot, event: Exited) -> ExitClass:
    kind = classify(
        event.status, was_ready=slot.ready, stop_requested=slot.asked, hung=slot.hung, oom=event.oom or slot.heavy
    )
    # an operator who stopped it meanwhile has the last word
    return ExitClass.RECYCLE if kind is ExitClass.REQUESTED and slot.worn and slot.wanted else kind


def _stay_down(policy: Policy, slot: Slot, empty: Slot, *, now: float) -> Step:
    if slot.doomed:
        return rest(policy, replace(empty, wanted=False, doomed=False, reason=slot.reason), SlotState.FATAL, now=now)
    reason = f"held; {empty.reason}" if slot.held else ""
    end = End.LEAVE if slot.held and slot.wanted else slot.end
    return rest(policy, replace(empty, wanted=False, reason=reason), SlotState.STOPPED, now=now, end=end)


def _cause(slot: Slot, event: Exited) -> str:
    """Return what people should read: of a hung worker what it hung in, however its end came about."""
    if event.oom:
        return f"killed for lack of memory (OOM) {event.detail}".strip()
    if slot.heavy:
        return f"ended for its memory: {slot.reason}"
    if slot.worn and slot.wanted:
        return f"recycled: {slot.reason}"
    if slot.hung:
        return f"hung: {slot.reason.removeprefix('hung: ')}"
    return f"{describe(event.status)} {event.detail}".strip()


def _plain(detail: str) -> str:
    return detail.removeprefix("(").removesuffix(")")


def _obituary(slot: Slot, event: Exited, after: Slot, *, kind: ExitClass, now: float) -> Report:
    """Return the one event of this death, with what is done next."""
    quiet = kind in (ExitClass.RECYCLE, ExitClass.REQUESTED) and slot.rung <= Rung.TERM
    resting = after.after if after.state is SlotState.LEAVING else after.state
    match resting:
        case SlotState.STARTING:
            what_next = "starts again at once"
        case SlotState.BACKOFF:
            delay = format_duration(max(0.0, after.start_at - now))
            what_next = "waits for its group's canary" if after.parked else f"starts again in {delay}"
        case SlotState.FATAL:
            what_next = "given up"
        case _:
            what_next = "stays down"
    return Report(
        "worker.exited",
        Severity.INFO if quiet else Severity.WARNING,
        f"{_cause(slot, event)}; {what_next}",
        {
            **event.fields,
            "class": kind.value,
            "status": event.status,
            "incarnation": slot.incarnation,
            "mode": slot.mode.value,
            "was_ready": slot.ready,
            "rung": slot.rung.name.lower(),
        },
    )


def _failed(policy: Policy, slot: Slot, kind: ExitClass, *, accuses: bool, now: float, chance: float) -> Step:
    recent = tuple(at for at in slot.accusing_at if at > now - policy.accusing_window)
    if accuses and not slot.parked and len(recent) < policy.accusing_deaths:
        return spawn(replace(slot, restarts=slot.restarts + 1, accusing_at=(*recent, now)), Mode.WORK)
    failed = replace(slot, never_ready=slot.never_ready + (kind is ExitClass.STARTUP))
    return back_off(policy, failed, slot.reason, now=now, chance=chance)


def back_off(policy: Policy, slot: Slot, reason: str, *, now: float, chance: float) -> Step:
    """Start again: the first time at once, then after growing delays."""
    delay = policy.backoff.delay(slot.failures - 1, chance=chance) if slot.failures else 0.0
    waiting = replace(slot, failures=slot.failures + 1, last_delay=delay, start_at=now + delay, reason=reason)
    waiting, flaps = _count(policy, waiting, now=now)
    if delay <= 0 and not slot.parked:
        after, effects = spawn(replace(waiting, restarts=slot.restarts + 1), Mode.WORK)
        return after, (*flaps, *effects)
    fields: dict[str, Scalar] = {"delay": round(delay, 3), "failures": waiting.failures}
    when = "when its group's canary is healthy" if slot.parked else f"in {format_duration(delay)}"
    report = Report("slot.backoff", Severity.INFO, f"starts again {when}: {reason}", fields)
    resting, effects = rest(policy, waiting, SlotState.BACKOFF, now=now)
    return resting, (*flaps, report, *effects)


def _count(policy: Policy, slot: Slot, *, now: float) -> Step:
    """Remember a failure; tell, once until the slot is healthy again, that they are many."""
    recent = (*(at for at in slot.failed_at if at > now - policy.flapping_window), now)[-REMEMBERED:]
    if slot.flapping or len(recent) < policy.flapping_failures:
        return replace(slot, failed_at=recent), ()
    text = f"{len(recent)} failures in {format_duration(policy.flapping_window)}; the last one: {slot.reason}"
    report = Report("worker.flapping", Severity.WARNING, text, {"failures": len(recent)})
    return replace(slot, failed_at=recent, flapping=True), (report,)


def _fenced(policy: Policy, slot: Slot, detail: str, *, now: float, chance: float) -> Step:
    recent = slot.fencings > 0 and now - slot.fenced_at <= policy.fenced_memory
    fenced = replace(slot, fencings=slot.fencings + 1 if recent else 1, fenced_at=now)
    text = f"two supervisors are named {policy.supervisor!r} {detail}".strip()
    report = Report("worker.fenced", Severity.CRITICAL, text, {"fencings": fenced.fencings})
    if recent:
        after, effects = _give_up(policy, fenced, text, now=now)
        effects = (Report("slot.fatal", Severity.CRITICAL, text), *effects)
    else:
        delay = max(policy.fenced_delay, policy.backoff.delay(slot.failures, chance=chance))
        waiting = replace(fenced, last_delay=delay, start_at=now + delay, failures=slot.failures + 1, reason=text)
        after, effects = rest(policy, waiting, SlotState.BACKOFF, now=now)
    return after, (report, *effects)


def _give_up(policy: Policy, slot: Slot, reason: str, *, now: float) -> Step:
    hopeless = replace(slot, wanted=False, reason=reason)
    return rest(policy, hopeless, SlotState.FATAL, now=now)
