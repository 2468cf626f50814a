"""When dead letters are a flood, and whether it is over: counts against the limits of ``FloodSpec``. Pure, no clock.

Each worker keeps a window of its own records, the parent one of what all workers of a group add up to (``core.flood``).
"""

from collections import deque
from enum import StrEnum

from supervisor.core.durations import format_duration
from supervisor.core.spec import FloodSpec

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
