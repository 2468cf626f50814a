"""What of one owned partition was delivered, settled, and may be committed (P1).

Records are delivered in two ways. A *stretch* is worked in delivery order, by one thread: its offsets move many
at a time. Records in lanes are *open* one by one, and are settled in any order. Both may be there at once.

Offsets are tracked as they were really delivered: compacted topics and transaction markers leave holes,
so nothing is ever computed by adding one to anything but the last record delivered.
"""

from bisect import insort
from collections import deque
from collections.abc import Sequence

FEW = 8
"""So many offsets are put in their places one by one; more are sorted in."""


class OutOfOrderError(RuntimeError):
    """A record came again, or before one that was already delivered: the engine's picture is wrong."""


class PartitionOffsets:
    """The offsets of one partition during one ownership. Not thread-safe: the engine's mutex guards it."""

    __slots__ = ("_delivered", "_done", "_is_passed", "_marks", "_open", "_stretch", "_stretch_left", "position")

    def __init__(self) -> None:
        self.position: int | None = None
        """The offset after the last one delivered or skipped; where a ``seek`` must lead. ``None`` before the first."""
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self._stretch: int | None = None
        """The first unsettled offset of the stretch."""
        self._stretch_left = 0
        self._is_passed = False
        """Whether records were settled, and are not kept track of, that may be above an unsettled one."""
        self._delivered = 0
        self._marks: deque[tuple[int, float, int]] = deque()
        """Of each chunk: its first offset, when it was delivered, how many records were delivered before it."""

    def deliver(self, offsets: Sequence[int], *, now: float) -> None:
        """Take records to settle one by one; until then nothing above them may be committed."""
        if offsets:
            self._deliver(offsets[0], offsets[-1], len(offsets), now)
            self._open.extend(offsets)

    def stretch(self, first: int, last: int, records: int, *, now: float) -> None:
        """Take ``records`` from ``first`` to ``last`` to settle in this order, behind the stretch that there is."""
        self._deliver(first, last, records, now)
        if self._stretch is None:
            self._stretch = first
        self._stretch_left += records

    def _deliver(self, first: int, last: int, records: int, now: float) -> None:
        if self.position is not None and first < self.position:
            message = f"offset {first} was delivered after position {self.position}"
            raise OutOfOrderError(message)
        self._marks.append((first, now, self._delivered))
        self._delivered += records
        self.position = last + 1

    def shorten(self, records: int, then: int | None) -> None:
        """Settle the first ``records`` of the stretch; ``then`` is the offset of the next one, ``None`` at its end."""
        self._stretch_left -= records
        self._stretch = then
        self._is_passed = self._is_passed or bool(self._open)
        if self._stretch_left < 0 or (then is None) != (self._stretch_left == 0):
            message = f"{self._stretch_left} records are left of a stretch that goes on at {then}"
            raise OutOfOrderError(message)

    def take_out(self, offsets: Sequence[int], then: int | None) -> None:
        """Move records of the stretch to those settled one by one; ``then`` is the first that stays in it, if any."""
        passed = self._is_passed
        self.open(offsets)
        self.shorten(len(offsets), then)
        self._is_passed = passed

    def open(self, offsets: Sequence[int]) -> None:
        """Let delivered records be settled one by one, whatever they were before."""
        opened = self._open
        if not opened or offsets[0] > opened[-1]:
            opened.extend(offsets)
        elif len(offsets) <= FEW:
            for offset in offsets:
                insort(opened, offset)
        else:
            self._open = deque(sorted([*opened, *offsets]))

    def advance(self, position: int) -> None:
        """Note that there are no records before ``position`` but those delivered: the offset of an end-of-partition.

        Control records at the tail of a transactional topic are only ever passed by it. Never moves back.
        """
        if self.position is None or position > self.position:
            self.position = position

    def settle(self, offset: int) -> None:
        """Note that the open record at ``offset`` needs no more work."""
        self._done.add(offset)

    def committable(self) -> int | None:
        """Return the offset to commit: the first unsettled record, or the position; ``None`` before the first."""
        opened, done = self._open, self._done
        first = self._stretch
        while opened and opened[0] in done:
            self._is_passed = self._is_passed or first is not None
            done.discard(opened.popleft())
        if opened:
            first = opened[0] if first is None else min(first, opened[0])
        elif first is None:
            self._marks.clear()
            self._is_passed = False
            return self.position
        marks = self._marks
        while len(marks) > 1 and marks[1][0] <= first:
            marks.popleft()
        return first

    def settled_runs(self) -> list[tuple[int, int]]:
        """Return what is settled above ``committable``, as runs from an offset to before another.

        A hole belongs to the run around it: no record will ever come from it. Of a stretch only what is below its
        first unsettled record is known to be settled.
        """
        at = self.committable()
        end = self.position if self._stretch is None else self._stretch
        if at is None or end is None:
            return []
        below: list[tuple[int, int]] = []
        above: list[tuple[int, int]] = []
        for offset in self._open:
            is_settled = offset in self._done
            if offset < end and not is_settled:
                if at < offset:
                    below.append((at, offset))
                at = offset + 1
            elif offset >= end and is_settled:
                first = above.pop()[0] if above and above[-1][1] == offset else offset
                above.append((first, offset + 1))
        if at < end:
            below.append((at, end))
        return below + above

    @property
    def gap(self) -> int:
        """How many delivered records are not committable: what a crash now would repeat.

        Where stretches and open records are side by side, all of the first unsettled one's chunk are counted.
        """
        self.committable()
        if self._is_passed and self._marks:
            return self._delivered - self._marks[0][2]
        return len(self._open) + self._stretch_left

    def oldest(self, *, now: float) -> float:
        """Return the age in seconds of the oldest unsettled record; 0 when there is none."""
        self.committable()
        return now - self._marks[0][1] if self._marks else 0.0
