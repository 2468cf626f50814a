"""What is known of one live worker: its statistics, readings and progress."""

from supervisor.core.board import Board
from supervisor.core.progress import Limits, Progress, Verdict, look
from supervisor.core.worker_stats import WorkerStats
from supervisor.parent.slots.readings import Reading, Sampler

STALE = 8.0
"""Seconds without a word; a worker with nothing new to say speaks each four."""


class Telemetry:
    """Gathered from frames, the board and psutil; thrown away with the incarnation. Times are monotonic."""

    def __init__(self, pid: int, limits: Limits, *, now: float) -> None:
        self.since = now
        self.stats: WorkerStats | None = None
        self.reading = Reading()
        self.verdict = Verdict("", healthy=True)
        self._limits = limits
        self._sampler = Sampler(pid, now=now)
        self._progress: Progress | None = None
        self._rate: float | None = None
        self._told_at = now

    def told(self, stats: WorkerStats, *, now: float, seconds: float | None = None) -> None:
        """Take a worker's own count of its work; ``seconds``: in which it changed, if not since the one before."""
        elapsed = now - self._told_at if seconds is None else seconds
        if self.stats is not None and elapsed > 0:
            self._rate = max(0, stats.settled - self.stats.settled) / elapsed
        self.stats, self._told_at = stats, now

    def look(self, board: Board | None, *, now: float) -> Verdict:
        """Judge progress; a worker without a board is judged by its frames and exit alone."""
        if board is not None:
            self._progress, self.verdict = look(self._progress, board, self._limits, now=now)
        return self.verdict

    def sample(self, *, now: float) -> None:
        """Read memory and processor time."""
        self.reading = self._sampler.read(now=now)

    def records_per_s(self, *, now: float) -> float | None:
        """Return the rate between the last two counts, ``None`` when they are too old or missing."""
        return None if self._rate is None or now - self._told_at > STALE else round(self._rate, 1)
