"""What of one owned partition was delivered, settled, and may be committed (P1).

Offsets are tracked as they were really delivered: compacted topics and transaction markers leave holes,
so nothing is ever computed by adding one to anything but the last record delivered.
"""

from collections import deque
from collections.abc import Sequence


class OutOfOrderError(RuntimeError):
    """A record came again, or before one that was already delivered: the engine's picture is wrong."""


class PartitionOffsets:
    """The offsets of one partition during one ownership. Not thread-safe: the engine's mutex guards it."""

    __slots__ = ("_done", "_marks", "_open", "position")

    def __init__(self) -> None:
        self.position: int | None = None
        """The offset after the last one delivered or skipped; where a ``seek`` must lead. ``None`` before the first."""
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._marks: deque[tuple[int, float]] = deque()

    def deliver(self, offsets: Sequence[int], *, now: float) -> None:
        """Track records handed out, in order; each must be given to ``settle`` before anything above it commits."""
        if not offsets:
            return
        if self.position is not None and offsets[0] < self.position:
            message = f"offset {offsets[0]} was delivered after position {self.position}"
            raise OutOfOrderError(message)
        self._open.extend(offsets)
        self._marks.append((offsets[0], now))
        self.position = offsets[-1] + 1

    def advance(self, position: int) -> None:
        """Note that everything below ``position`` was delivered and settled in one go, or holds no records.

        The serial path's shortcut, and the offset of an end-of-partition: control records at the tail of a
        transactional topic are only ever passed by it. Never moves back.
        """
        if self.position is None or position > self.position:
            self.position = position

    def settle(self, offset: int) -> None:
        """Note that the record at ``offset`` needs no more work."""
        self._done.add(offset)

    def committable(self) -> int | None:
        """Return the offset to commit: the first unsettled record, or the position; ``None`` before the first."""
        opened, done = self._open, self._done
        while opened and opened[0] in done:
            done.discard(opened.popleft())
        if opened:
            return opened[0]
        self._marks.clear()
        return self.position

    @property
    def gap(self) -> int:
        """How many delivered records are not committable: what a crash now would repeat."""
        self.committable()
        return len(self._open)

    def oldest(self, *, now: float) -> float:
        """Return the age in seconds of the oldest unsettled record; 0 when there is none."""
        head = self.committable()
        if not self._open or head is None:
            return 0.0
        marks = self._marks
        while len(marks) > 1 and marks[1][0] <= head:
            marks.popleft()
        return now - marks[0][1]
