"""P1 and P2: lanes and offsets together, in any history of one partition.

Records are delivered into lanes or worked in a row, finish, fail, wait, are dead-lettered; the partition is
revoked, assigned again, or its worker crashes. Only what the engine may do is done here, by the public methods
it uses; the model is one set of what was settled in this ownership.
"""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.core.lane import Lane
from supervisor.core.lanes import Lanes
from supervisor.core.offsets import PartitionOffsets

PLACE = ("t", 0)
PICK = st.integers(0, 99)


class Ownership:
    """The partition from one assignment on; ``start`` is where the last commit left it."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.offsets = PartitionOffsets()
        self.settled: set[int] = set()
        self.is_over = False


Item = tuple[Ownership, int]


class PartitionLife(RuleBasedStateMachine):
    """One partition of a log with holes, one worker that may have it."""

    lanes: Lanes[Item]
    owned: Ownership | None
    run: list[int]
    """The records that one thread works in a row, and has not finished."""
    busy: list[Lane[Item]]
    blocked: list[Lane[Item]]

    @initialize(steps=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=10, max_size=40))
    def begin(self, steps: list[tuple[int, int]]) -> None:
        self.keys: dict[int, int] = {}
        offset = -1
        for step, key in steps:
            offset += step
            self.keys[offset] = key
        self.log = list(self.keys)
        self.now = 0.0
        self.committed = 0
        self.ever: set[int] = set()
        """Settled by anybody."""
        self._start_worker()

    # --- ownership --------------------------------------------------------------------------------------

    @precondition(lambda self: self.owned is None)
    @rule()
    def assign(self) -> None:
        self.owned = Ownership(self.committed)

    @precondition(lambda self: self.owned is not None and not self.run)
    @rule(lost=st.booleans())
    def revoke(self, lost: bool) -> None:
        assert self.owned is not None
        if not lost:
            self.commit()
        self.owned.is_over = True
        self.owned = None
        self.lanes.purge({PLACE})

    @rule()
    def crash(self) -> None:
        self._start_worker()

    @rule()
    def commit(self) -> None:
        """P1: nothing is committed below an unsettled record, whoever settled what before."""
        if self.owned is None or (offset := self.owned.offsets.committable()) is None:
            return
        below = {one for one in self.log if one < offset}
        assert below <= self.ever
        assert {one for one in below if one >= self.owned.start} <= self.owned.settled
        assert offset >= self.committed
        self.committed = offset

    # --- delivery ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.owned is not None and not self.run)
    @rule(count=st.integers(1, 6))
    def deliver_to_lanes(self, count: int) -> None:
        assert self.owned is not None
        offsets = self._next(count)
        self.owned.offsets.deliver(offsets, now=self.now)
        self._enqueue(offsets)

    @precondition(lambda self: self.owned is not None and not self.run)
    @rule(count=st.integers(1, 6))
    def deliver_as_a_run(self, count: int) -> None:
        assert self.owned is not None
        offsets = self._next(count)
        if offsets:
            self.owned.offsets.stretch(offsets[0], offsets[-1], len(offsets), now=self.now)
            self._sift(offsets)

    @precondition(lambda self: self.owned is not None and not self.run)
    @rule()
    def reach_the_end(self) -> None:
        assert self.owned is not None
        if self.owned.offsets.position == self.log[-1] + 1:
            self.owned.offsets.advance(self.log[-1] + 3)

    # --- work in a row ----------------------------------------------------------------------------------

    @precondition(lambda self: self.run)
    @rule(count=st.integers(1, 6))
    def finish_some_of_the_run(self, count: int) -> None:
        assert self.owned is not None
        for offset in self.run[:count]:
            self._check_order(offset)
            self._settle(self.owned, offset)
        done, self.run = min(count, len(self.run)), self.run[count:]
        self.owned.offsets.shorten(done, self.run[0] if self.run else None)

    @precondition(lambda self: self.run)
    @rule(steal=st.booleans())
    def cut_the_run(self, steal: bool) -> None:
        """Give what is in its handler a lane; the rest goes on where it need not wait, or (stolen) into lanes."""
        assert self.owned is not None
        head, *rest = self.run
        self._check_order(head)
        self.owned.offsets.take_out([head], rest[0] if rest else None)
        self.busy.append(self.lanes.adopt((PLACE, self.keys[head]), PLACE, [((self.owned, head), 1)]))
        self.run = []
        if steal and rest:
            self.owned.offsets.take_out(rest, None)
            self._enqueue(rest)
        elif rest:
            self._sift(rest)

    # --- work in lanes ----------------------------------------------------------------------------------

    @rule()
    def take(self) -> None:
        lane = self.lanes.take(now=self.now)
        if lane is not None:
            owned, offset = lane.head
            assert not owned.is_over, "P2: a record was begun after its partition was given up"
            self._check_order(offset)
            self.busy.append(lane)

    @precondition(lambda self: self.busy)
    @rule(at=PICK)
    def finish(self, at: int) -> None:
        lane = self.busy.pop(at % len(self.busy))
        owned, offset = lane.head
        self.lanes.settle_head(lane)
        self.ever.add(offset)
        if not owned.is_over:
            owned.offsets.settle(offset)
            owned.settled.add(offset)
        self._end_turn(lane)

    @precondition(lambda self: self.busy)
    @rule(at=PICK, after=st.integers(0, 3))
    def retry_later(self, at: int, after: int) -> None:
        lane = self.busy.pop(at % len(self.busy))
        if lane.head[0].is_over:
            self._end_turn(lane)
        else:
            self.lanes.wait(lane, due=self.now + after)

    @precondition(lambda self: self.busy)
    @rule(at=PICK)
    def send_a_dead_letter(self, at: int) -> None:
        lane = self.busy.pop(at % len(self.busy))
        self.lanes.block(lane)
        self.blocked.append(lane)

    @precondition(lambda self: self.blocked)
    @rule(at=PICK)
    def hear_of_a_dead_letter(self, at: int) -> None:
        lane = self.blocked.pop(at % len(self.blocked))
        self.lanes.unblock(lane)
        self.busy.append(lane)

    @rule(by=st.integers(1, 3))
    def pass_time(self, by: int) -> None:
        self.now += by

    # --- what always holds ------------------------------------------------------------------------------

    @invariant()
    def the_gap_covers_what_a_crash_would_repeat(self) -> None:
        if self.owned is None or (offset := self.owned.offsets.committable()) is None:
            return
        position = self.owned.offsets.position
        assert position is not None
        assert self.owned.offsets.gap >= sum(offset <= one < position for one in self.log)

    def teardown(self) -> None:
        """Nothing is lost: whatever happened, one more ownership brings the partition to its end."""
        if not hasattr(self, "log"):
            return
        self._start_worker()
        self.assign()
        self.deliver_to_lanes(len(self.log))
        for _ in range(2 * len(self.log)):
            self.take()
            if self.busy:
                self.finish(0)
        self.commit()
        assert self.committed >= self.log[-1] + 1
        assert set(self.log) <= self.ever

    # --- the engine's part ------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        self.lanes = Lanes()
        self.owned = None
        self.run = []
        self.busy = []
        self.blocked = []

    def _next(self, count: int) -> list[int]:
        assert self.owned is not None
        begun_at = self.owned.offsets.position
        position = self.owned.start if begun_at is None else begun_at
        return [offset for offset in self.log if offset >= position][:count]

    def _enqueue(self, offsets: list[int]) -> None:
        assert self.owned is not None
        for offset in offsets:
            self.lanes.add((PLACE, self.keys[offset]), PLACE, (self.owned, offset), size=1)

    def _sift(self, offsets: list[int]) -> None:
        assert self.owned is not None
        free = [offset for offset in offsets if (PLACE, self.keys[offset]) not in self.lanes]
        waiting = [offset for offset in offsets if offset not in free]
        if waiting:
            self.owned.offsets.take_out(waiting, free[0] if free else None)
            self._enqueue(waiting)
        self.run = free

    def _end_turn(self, lane: Lane[Item]) -> None:
        while lane.items and lane.head[0].is_over:
            self.lanes.settle_head(lane)
        self.lanes.give_back(lane)

    def _settle(self, owned: Ownership, offset: int) -> None:
        owned.settled.add(offset)
        self.ever.add(offset)

    def _check_order(self, offset: int) -> None:
        """P2: all of the key before it is settled in this ownership, and nothing of the key is in a handler."""
        assert self.owned is not None
        key = self.keys[offset]
        before = {one for one in self.log if self.owned.start <= one < offset and self.keys[one] == key}
        assert before <= self.owned.settled
        assert offset not in self.owned.settled
        assert key not in {self.keys[lane.head[1]] for lane in self.busy + self.blocked}


PartitionLife.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
test_any_history_of_a_partition_commits_nothing_unsettled_and_keeps_order = PartitionLife.TestCase
