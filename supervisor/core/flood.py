"""The flood guard: when so many records become dead letters that it is not the records any more. No clock, no chance.

One worker judges each dead letter before it is written, the parent what all workers of a group add up to (both with a
``core.flood_window``). Where a limit is reached the group holds (or stops, or sheds), and goes on by an operator's word
or after a few records that may try.
"""

from dataclasses import dataclass, replace

from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar, Severity
from supervisor.core.slot import Report
from supervisor.core.spec import FloodAction, FloodOrder, FloodSpec, FloodState


@dataclass(frozen=True, slots=True)
class Flood:
    """The guard of a group, as the parent has it. ``since`` and ``reason`` are of the last time it tripped.

    ``resume_at``: when a few records may try, ``None``: an operator says. ``stopped``: its workers were told to stop.
    """

    state: FloodState = FloodState.NORMAL
    since: float = 0.0
    reason: str = ""
    resume_at: float | None = None
    stopped: bool = False
    amnesty: bool = False

    @property
    def is_tripped(self) -> bool:
        """Whether the group is not as usual."""
        return self.state is not FloodState.NORMAL or self.stopped


Step = tuple[Flood, tuple[Report, ...]]


def order_for(flood: Flood) -> FloodOrder:
    """Return what all workers of the group are to be told."""
    return FloodOrder(flood.state, amnesty=flood.amnesty)


def trip(flood: Flood, reason: str, spec: FloodSpec, *, by: str, now: float) -> Step:
    """Hold, stop or shed: a limit was reached, or those that might try failed. One event, however often it is said."""
    resume_at = None if spec.resume_after is None else now + spec.resume_after
    if flood.state is FloodState.HALF_OPEN:
        return replace(flood, state=FloodState.TRIPPED, resume_at=resume_at), ()
    if flood.is_tripped:
        return flood, ()
    does = {
        FloodAction.PAUSE: "no record is begun",
        FloodAction.STOP: "the group is stopped",
        FloodAction.SHED: "records that fail are dropped",
    }[spec.action]
    then = "a few records try later"
    if spec.action is FloodAction.STOP:
        then = "until somebody starts it"
    elif spec.resume_after is None:
        then = "until an operator resumes it"
    elif spec.action is FloodAction.SHED:
        then = f"for {format_duration(spec.resume_after)}"
    fields: dict[str, Scalar] = {
        "reason": reason,
        "action": spec.action.value,
        "by": by,
        "resume_after": spec.resume_after,
    }
    report = Report("flood.tripped", Severity.CRITICAL, f"{reason}: {does}, {then}", fields)
    if spec.action is FloodAction.STOP:
        return Flood(since=now, reason=reason, stopped=True), (report,)
    return Flood(FloodState.TRIPPED, now, reason, resume_at), (report,)


def resume(flood: Flood, *, by: str, now: float, amnesty: bool = False) -> Step:
    """Go on: those that tried got through, or a person said so (``amnesty``: what fails now is known to)."""
    if not flood.is_tripped:
        return flood, ()
    fields: dict[str, Scalar] = {"reason": flood.reason, "by": by, "seconds": round(now - flood.since, 3)}
    text = f"goes on after {format_duration(now - flood.since)} ({by})"
    return Flood(amnesty=amnesty), (Report("flood.resumed", Severity.WARNING, text, fields),)


def look(flood: Flood, spec: FloodSpec, *, now: float) -> Step:
    """Let a few records try once it is time; what was shed is only counted again from then on."""
    if flood.state is not FloodState.TRIPPED or flood.resume_at is None or now < flood.resume_at:
        return flood, ()
    if spec.action is FloodAction.SHED:
        return resume(flood, by="time", now=now)
    return replace(flood, state=FloodState.HALF_OPEN, resume_at=None), ()


def words(flood: Flood, group: str, action: FloodAction, *, since: str, now: float) -> str:
    """Return the guard in words, ``since`` as a person reads a time; empty while all is as usual."""
    if not flood.is_tripped:
        return ""
    if flood.stopped:
        return f"flood: {flood.reason}; stopped since {since}: supervisor start {group}"
    if flood.state is FloodState.HALF_OPEN:
        return f"flood: {flood.reason} since {since}; a few records try"
    what, then = "", "tries by itself"
    if action is FloodAction.SHED:
        what, then = "; records that fail are dropped", "counts anew"
    left = "" if flood.resume_at is None else f", {then} in {format_duration(max(0.0, flood.resume_at - now))}"
    return f"flood: {flood.reason}{what} since {since}: supervisor resume {group}{left}"
