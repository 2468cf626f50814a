"""Delays that grow: how long to wait before a worker starts again, or a record is tried again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """An exponential backoff: ``initial * factor**k`` seconds, never above ``max``.

    ``jitter`` is the share of a delay that chance may take away: 0 none, 1 "full jitter".
    """

    initial: float
    factor: float
    max: float
    jitter: float

    def delay(self, k: int, *, chance: float) -> float:
        """Return the seconds to wait after ``k`` earlier delays (``chance`` in [0, 1))."""
        try:
            ceiling = min(self.max, self.initial * self.factor**k)
        except OverflowError:
            ceiling = self.max
        return ceiling * (1 - self.jitter * chance)
