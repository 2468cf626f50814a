"""P2 and P6: any history of deliver, work, fail, wait, block and purge keeps order, and counts right."""

from collections import defaultdict

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.core.lanes import Lane, Lanes, LaneState

Item = tuple[str, int, int]  # place, key, number
PLACES = [("t", 0), ("t", 1)]
SIZE = 10


class LaneLife(RuleBasedStateMachine):
    """Lanes beside a model that remembers only what was delivered and what is where."""

    @initialize()
    def begin(self) -> None:
        self.lanes: Lanes[Item] = Lanes()
        self.now = 0.0
        self.number = 0
        self.pending: dict[tuple[tuple[str, int], int], list[Item]] = defaultdict(list)
        self.in_hand: list[Lane[Item]] = []
        self.blocked: list[Lane[Item]] = []
        self.orphans = 0
        """Records that were purged around but are still in a handler or awaiting a confirmation."""

    @rule(place=st.sampled_from(PLACES), key=st.integers(0, 3))
    def deliver(self, place: tuple[str, int], key: int) -> None:
        self.number += 1
        item = (place[0], key, self.number)
        self.lanes.add((place, key), place, item, size=SIZE)
        self.pending[(place, key)].append(item)

    @rule()
    def take(self) -> None:
        lane = self.lanes.take(now=self.now)
        if lane is None:
            waiting = self.lanes.next_due()
            assert self.lanes.ready == 0
            assert waiting is None or waiting > self.now
            return
        assert lane not in self.in_hand, "a lane belongs to one thread at a time"
        assert lane.head == self.pending[self._key(lane)][0], "the oldest record of a key comes first"
        self.in_hand.append(lane)

    @precondition(lambda self: self.in_hand)
    @rule(at=st.integers(0, 99), more=st.booleans())
    def settle(self, at: int, more: bool) -> None:
        lane = self.in_hand[at % len(self.in_hand)]
        assert lane.head == self.pending[self._key(lane)].pop(0)
        self.lanes.settle_head(lane)
        if not (more and lane.items):
            self.in_hand.remove(lane)
            self.lanes.give_back(lane)

    @precondition(lambda self: self.in_hand)
    @rule(at=st.integers(0, 99))
    def exchange(self, at: int) -> None:
        lane = self.in_hand.pop(at % len(self.in_hand))
        assert lane.head == self.pending[self._key(lane)].pop(0)
        following = self.lanes.exchange(lane, now=self.now)
        if following is None:
            assert self.lanes.ready == 0
            return
        assert following not in self.in_hand
        assert following.state is LaneState.BUSY
        assert following.head == self.pending[self._key(following)][0]
        self.in_hand.append(following)

    @precondition(lambda self: self.in_hand)
    @rule(at=st.integers(0, 99), after=st.integers(0, 5))
    def fail(self, at: int, after: int) -> None:
        lane = self.in_hand.pop(at % len(self.in_hand))
        self.lanes.wait(lane, due=self.now + after)

    @precondition(lambda self: self.in_hand)
    @rule(at=st.integers(0, 99))
    def block(self, at: int) -> None:
        lane = self.in_hand.pop(at % len(self.in_hand))
        self.lanes.block(lane)
        self.blocked.append(lane)

    @precondition(lambda self: self.blocked)
    @rule(at=st.integers(0, 99))
    def unblock(self, at: int) -> None:
        lane = self.blocked.pop(at % len(self.blocked))
        self.lanes.unblock(lane)
        self.in_hand.append(lane)

    @rule(by=st.integers(1, 3))
    def pass_time(self, by: int) -> None:
        self.now += by

    @rule(place=st.sampled_from(PLACES))
    def purge(self, place: tuple[str, int]) -> None:
        held = {self._key(lane) for lane in self.in_hand + self.blocked}
        expected = 0
        for name, items in self.pending.items():
            if name[0] == place:
                keep = 1 if name in held else 0
                expected += len(items) - keep
                self.pending[name] = items[:keep]
        assert self.lanes.purge({place}) == expected

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        total = sum(len(items) for items in self.pending.values())
        assert self.lanes.count == total
        assert self.lanes.size == total * SIZE
        assert self.lanes.busy == len(self.in_hand)
        assert self.lanes.blocked == len(self.blocked)
        for place in PLACES:
            assert self.lanes.held(place) == sum(len(items) for name, items in self.pending.items() if name[0] == place)
            assert self.lanes.held_size(place) == self.lanes.held(place) * SIZE
            working = [lane for lane in self.in_hand + self.blocked if lane.place == place]
            assert self.lanes.working({place}) == len(working)

    def teardown(self) -> None:
        """No starvation: with time and hands enough, everything left gets worked."""
        for lane in self.blocked:
            self.lanes.unblock(lane)
        for lane in self.in_hand + self.blocked:
            self.lanes.give_back(lane)
        self.now += 1000
        while (taken := self.lanes.take(now=self.now)) is not None:
            assert taken.state is LaneState.BUSY
            while taken.items:
                assert taken.head == self.pending[self._key(taken)].pop(0)
                self.lanes.settle_head(taken)
            self.lanes.give_back(taken)
        assert self.lanes.count == 0
        assert not any(self.pending.values())

    @staticmethod
    def _key(lane: Lane[Item]) -> tuple[tuple[str, int], int]:
        return lane.name  # type: ignore[return-value]


LaneLife.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
test_any_history_of_lanes_keeps_order_and_counts = LaneLife.TestCase
