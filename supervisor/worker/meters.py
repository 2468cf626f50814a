"""What a worker counts beside its ``Counters``: in the engine's mutex, per chunk or run where handlers are fast."""

from dataclasses import dataclass

from supervisor.core.histogram import RECORDS, SECONDS, WAITS, Tally


class Meters:
    """Since the incarnation began; guarded by the engine's mutex.

    ``handled``: seconds per call of the handler, where it is fast the mean of a run. ``polled``: records of a chunk;
    ``batches``: of a call of ``process_batch``. ``committing``: seconds from a commit to its answer.
    """

    __slots__ = ("batches", "committing", "handled", "pauses", "polled", "rebalances", "received", "retried")

    def __init__(self) -> None:
        self.received = 0
        self.retried = 0
        self.pauses = 0
        self.rebalances: dict[str, int] = {}
        self.handled = Tally(SECONDS)
        self.polled = Tally(RECORDS)
        self.batches = Tally(RECORDS)
        self.committing = Tally(WAITS)

    def took(self, records: int) -> None:
        """Count a chunk that was polled, if there was anything in it."""
        if records:
            self.received += records
            self.polled.note(float(records))

    def ran(self, seconds: float, calls: int, *, batch: int | None = None) -> None:
        """Count a run of calls, each as long as the mean; ``batch`` records each."""
        self.handled.note(seconds / calls, calls)
        if batch is not None:
            self.batches.note(float(batch), calls)

    def was_stolen(self, before: float, after: float, calls: int, *, batch: int | None = None) -> None:
        """Count a run whose last call went on ``after`` seconds beyond the moment it was taken away from its thread."""
        if not calls:
            return
        if calls > 1:
            self.handled.note(before / calls, calls - 1)
        self.handled.note(after if calls > 1 else before + after)
        if batch is not None:
            self.batches.note(float(batch), calls)

    def rebalanced(self, kind: str) -> None:
        """Count a rebalance callback: ``assigned``, ``revoked`` or ``lost``."""
        self.rebalances[kind] = self.rebalances.get(kind, 0) + 1


@dataclass(slots=True)
class Counters:
    """Since the incarnation began."""

    settled: int = 0
    failed_attempts: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    copied: int = 0
    """To retry topics."""
    commits: int = 0
