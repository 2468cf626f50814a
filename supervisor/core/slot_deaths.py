"""What follows from a death: start again, wait, leave the group, give up. Pure.

A slot is given up only for what never worked, a wrong configuration, or a second fencing: after it was ready
once it is started again for ever, with a capped delay.
"""

from dataclasses import replace

from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar, Severity
from supervisor.core.exits import ExitClass, ExitCode, classify, describe
from supervisor.core.slot import Exited, Policy, Report, Rung, Slot, Step
from supervisor.core.slot_moves import after_leave, rest, spawn, vacate
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode


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
    )
    if not slot.wanted or slot.held:
        reason = f"held; {empty.reason}" if slot.held else ""
        end = End.LEAVE if slot.held and slot.wanted else slot.end
        down = replace(empty, wanted=False, reason=reason)
        after, effects = rest(policy, down, SlotState.STOPPED, now=now, end=end)
    elif kind is ExitClass.CONFIG:
        after, effects = _give_up(
            policy, empty, f"wrong configuration: {_plain(event.detail) or empty.reason}", now=now
        )
    elif kind is ExitClass.FENCED:
        after, effects = _fenced(policy, empty, event.detail, now=now, chance=chance)
    elif kind is ExitClass.REQUESTED:
        after, effects = spawn(empty, Mode.WORK)
    elif kind is ExitClass.RECYCLE and slot.ready:
        after, effects = spawn(replace(empty, restarts=slot.restarts + 1), Mode.WORK)
    else:
        failure = ExitClass.STARTUP if kind is ExitClass.OOM and not slot.ready else kind
        after, effects = _failed(policy, empty, failure, now=now, chance=chance)
    return after, (_obituary(slot, event, after, kind=kind, now=now), *effects)


def left(policy: Policy, slot: Slot, event: Exited, *, now: float, chance: float) -> Step:  # noqa: ARG001 - as _died
    """Decide what follows from the end of a process that was to leave the group."""
    done = event.status == ExitCode.OK
    gone = replace(
        vacate(slot),
        member=slot.member and not done and event.status != ExitCode.FENCED,
        failed_leaves=0 if done else slot.failed_leaves + 1,
    )
    after, effects = after_leave(policy, gone, now=now)
    kind = (
        ExitClass.REQUESTED
        if done
        else classify(event.status, was_ready=True, stop_requested=slot.asked, oom=event.oom)
    )
    obituary = _obituary(slot, event, after, kind=kind, now=now)
    left = (Report("slot.left", Severity.INFO, "its partitions go to other members"),) if done else ()
    return after, (obituary, *left, *effects)


def _class_of(slot: Slot, event: Exited) -> ExitClass:
    kind = classify(
        event.status, was_ready=slot.ready, stop_requested=slot.asked, hung=slot.hung, oom=event.oom or slot.heavy
    )
    # an operator who stopped it meanwhile has the last word
    return ExitClass.RECYCLE if kind is ExitClass.REQUESTED and slot.worn and slot.wanted else kind


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
            what_next = f"starts again in {format_duration(max(0.0, after.start_at - now))}"
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


def _failed(policy: Policy, slot: Slot, kind: ExitClass, *, now: float, chance: float) -> Step:
    failed = replace(slot, never_ready=slot.never_ready + (kind is ExitClass.STARTUP))
    if not slot.ever_ready and failed.never_ready >= policy.never_ready_limit:
        reason = f"not ready in {failed.never_ready} starts; the last one: {slot.reason}"
        return _give_up(policy, failed, reason, now=now)
    return back_off(policy, failed, slot.reason, now=now, chance=chance)


def back_off(policy: Policy, slot: Slot, reason: str, *, now: float, chance: float) -> Step:
    """Start again: the first time at once, then after growing delays."""
    delay = policy.backoff.delay(slot.failures - 1, chance=chance) if slot.failures else 0.0
    waiting = replace(slot, failures=slot.failures + 1, last_delay=delay, start_at=now + delay, reason=reason)
    if delay <= 0:
        return spawn(replace(waiting, restarts=slot.restarts + 1), Mode.WORK)
    fields: dict[str, Scalar] = {"delay": round(delay, 3), "failures": waiting.failures}
    report = Report("slot.backoff", Severity.INFO, f"starts again in {format_duration(delay)}: {reason}", fields)
    resting, effects = rest(policy, waiting, SlotState.BACKOFF, now=now)
    return resting, (report, *effects)


def _fenced(policy: Policy, slot: Slot, detail: str, *, now: float, chance: float) -> Step:
    recent = slot.fencings > 0 and now - slot.fenced_at <= policy.fenced_memory
    fenced = replace(slot, fencings=slot.fencings + 1 if recent else 1, fenced_at=now)
    text = f"two supervisors are named {policy.supervisor!r} {detail}".strip()
    report = Report("worker.fenced", Severity.CRITICAL, text, {"fencings": fenced.fencings})
    if recent:
        after, effects = _give_up(policy, fenced, text, now=now)
    else:
        delay = max(policy.fenced_delay, policy.backoff.delay(slot.failures, chance=chance))
        waiting = replace(fenced, last_delay=delay, start_at=now + delay, failures=slot.failures + 1, reason=text)
        after, effects = rest(policy, waiting, SlotState.BACKOFF, now=now)
    return after, (report, *effects)


def _give_up(policy: Policy, slot: Slot, reason: str, *, now: float) -> Step:
    hopeless = replace(slot, wanted=False, reason=reason)
    resting, effects = rest(policy, hopeless, SlotState.FATAL, now=now)
    return resting, (Report("slot.fatal", Severity.CRITICAL, reason), *effects)
