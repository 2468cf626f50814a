"""The flood guard: when so many records become dead letters that it is not the records any more. No clock, no chance.

One worker judges each dead letter before it is written, the parent what all workers of a group add up to. Where a limit
is reached the group holds (or stops, or sheds), and goes on by an operator's word or after a few records that may try.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum

from supervisor.core.durations import format_duration
from supervisor.core.events import Scalar, Severity
from supervisor.core.slot import Report
from supervisor.core.spec import FloodAction, FloodOrder, FloodSpec, FloodState

TRIALS = 10
"""Records of one worker that decide after ``resume_after``: half of them dead letters, and all wait again."""
GRAIN = 60
"""Into so many parts a window is divided."""


class FloodWindow:
    """What of late became of a stream of records: counts of ``letters`` and of ``others``, which only ever grow.

    ``is_exact``: it is told of every letter by itself, so that those in a row are known.
    """

    def __init__(self, spec: FloodSpec, *, now: float, is_exact: bool = True) -> None:
        self._spec = spec
        self._is_exact = is_exact
        self._samples: deque[tuple[float, int, int]] = deque()
        self._times: deque[float] = deque(maxlen=max(1, spec.rate_count))
        self._last = (0, 0)
        self._row = 0
        self._armed_at: float | None = None
        self.clear(0, 0, now=now)

    @property
    def is_armed(self) -> bool:
        """Whether a limit that is reached is a flood: no amnesty holds, or its time is over."""
        return self._armed_at is None

    def clear(self, letters: int, others: int, *, now: float, amnesty: bool = False) -> None:
        """Begin anew; with ``amnesty`` nothing is a flood until a whole window was within the limits."""
        self._samples = deque([(now, letters, others)])
        self._times.clear()
        self._last = (letters, others)
        self._row = 0
        self._armed_at = now + self._spec.window if amnesty else None

    def sample(self, letters: int, others: int, *, now: float) -> None:
        """Note where the counts are; about once a second, whether anything failed or not."""
        self._count(letters, others, now)
        if self._armed_at is not None and now >= self._armed_at and not self._why(letters, others, now):
            self._armed_at = None
            self._row = 0
        if now - self._samples[-1][0] >= self._spec.window / GRAIN:
            self._samples.append((now, letters, others))
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._spec.window:
            self._samples.popleft()

    def reason(self, letters: int, others: int, *, now: float) -> str:
        """Return which limit is reached by these counts, the newest letter included; empty when none is."""
        self._count(letters, others, now)
        return "" if self._armed_at is not None else self._why(letters, others, now)

    def _count(self, letters: int, others: int, now: float) -> None:
        new = letters - self._last[0]
        if others != self._last[1]:
            self._row = new if self._is_exact else 0
        else:
            self._row += new
        if self._spec.rate_count:
            self._times.extend([now] * min(new, self._spec.rate_count))
        self._last = (letters, others)

    def _why(self, letters: int, others: int, now: float) -> str:
        spec = self._spec
        if spec.consecutive and self._row >= spec.consecutive:
            return f"{self._row} dead letters in a row"
        if spec.rate_count and len(self._times) == spec.rate_count and now - self._times[0] < spec.rate_seconds:
            return f"{spec.rate_count} dead letters within {format_duration(spec.rate_seconds)}"
        _, first_letters, first_others = self._samples[0]
        dead, fine = letters - first_letters, others - first_others
        if spec.ratio and dead + fine >= spec.min_records and dead >= spec.ratio * (dead + fine):
            window = format_duration(spec.window)
            return f"{dead} of {dead + fine} records within {window} became dead letters"
        return ""


class Trial(StrEnum):
    """What the records say that may try."""

    OPEN = "open"
    PASSED = "passed"
    FAILED = "failed"


def trial(letters: int, others: int) -> Trial:
    """Judge the first records after ``resume_after``, the newest one included."""
    if letters * 2 >= TRIALS:
        return Trial.FAILED
    return Trial.PASSED if others * 2 > TRIALS else Trial.OPEN


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
    then = "until an operator resumes it" if resume_at is None else "a few records try later"
    if spec.action is FloodAction.STOP:
        then = "until somebody starts it"
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


def words(flood: Flood, group: str, *, since: str, now: float) -> str:
    """Return the guard in words, ``since`` as a person reads a time; empty while all is as usual."""
    if not flood.is_tripped:
        return ""
    if flood.stopped:
        return f"flood: {flood.reason}; stopped since {since}: supervisor start {group}"
    if flood.state is FloodState.HALF_OPEN:
        return f"flood: {flood.reason} since {since}; a few records try"
    left = "" if flood.resume_at is None else f", tries by itself in {format_duration(max(0.0, flood.resume_at - now))}"
    return f"flood: {flood.reason} since {since}: supervisor resume {group}{left}"
