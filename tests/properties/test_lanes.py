"""P2 and P6: any history of deliver, adopt, work, batch, fail, wait, block and purge keeps order and starves nobody."""

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.core.lane import Lane, LaneState
from supervisor.core.lanes import BREAKER, FLOOD, Lanes

Item = tuple[str, int, int]  # topic, key, number
Name = tuple[tuple[str, int], int]
PLACES = [("t", 0), ("t", 1)]
SIZE = 10
PICK = st.integers(0, 99)


@dataclass(eq=False)
class Model:
    """A lane as it should be. ``alone``: which of its records failed in a batch, and are to be worked one by one."""

    name: Name
    items: list[Item] = field(default_factory=list)
    alone: set[Item] = field(default_factory=set)
    taken: int = 1
    due: tuple[float, int] = (0.0, 0)


class LaneLife(RuleBasedStateMachine):
    """Lanes beside lists: which lane is where, and the line of those that are ready, first come first served."""

    @initialize()
    def begin(self) -> None:
        self.lanes: Lanes[Item] = Lanes()
        self.now = 0.0
        self.number = 0
        self.models: dict[Name, Model] = {}
        self.ready: list[Model] = []
        self.busy: list[tuple[Lane[Item], Model]] = []
        self.blocked: list[tuple[Lane[Item], Model]] = []
        self.waiting: list[tuple[Lane[Item], Model]] = []
        self.tickets = 0
        self.closed = 0
        self.trials = 0
        self.tried: list[Model] = []

    # --- records come -----------------------------------------------------------------------------------

    @rule(place=st.sampled_from(PLACES), key=st.integers(0, 3))
    def deliver(self, place: tuple[str, int], key: int) -> None:
        name = (place, key)
        item = self._item(name)
        self.lanes.add(name, place, item, size=SIZE)
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = Model(name)
            self.ready.append(model)
        model.items.append(item)

    @rule(place=st.sampled_from(PLACES), key=st.integers(0, 3), count=st.integers(1, 3))
    def adopt(self, place: tuple[str, int], key: int, count: int) -> None:
        name = (place, key)
        items = [self._item(name) for _ in range(count)]
        if name in self.models:
            assert name in self.lanes
            with pytest.raises(RuntimeError, match="in use"):
                self.lanes.adopt(name, place, [(item, SIZE) for item in items])
            return
        assert name not in self.lanes
        lane = self.lanes.adopt(name, place, [(item, SIZE) for item in items])
        model = self.models[name] = Model(name, items, taken=count)
        self.busy.append((lane, model))

    # --- lanes are worked -------------------------------------------------------------------------------

    @rule()
    def take(self) -> None:
        """P2, and no starvation: who has been ready longest comes next, so a lane waits for those before it only."""
        again = self._let_due_ones_join()
        lane = self.lanes.take(now=self.now)
        if again is not None:
            assert lane is not None
            assert lane.name == again.name, "what was begun all the same is tried again all the same"
            self.busy.append((lane, again))
            return
        if self._is_held():
            assert lane is None, "nothing is begun while all is held back"
            dues = [model.due[0] for _, model in self.waiting if model in self.tried]
            assert self.lanes.next_due() == min(dues, default=None), "and nobody waits for what is due"
            assert self.lanes.ready == 0
            return
        if not self.ready:
            assert lane is None
            due = self.lanes.next_due()
            assert due == (min(model.due for _, model in self.waiting)[0] if self.waiting else None)
            return
        model = self._next()
        assert lane is not None
        assert lane.name == model.name, "the lane that has been ready longest comes first"
        assert lane.head == model.items[0], "the oldest record of a key comes first"
        self.busy.append((lane, model))

    @precondition(lambda self: self.busy)
    @rule(at=PICK, more=st.booleans())
    def settle(self, at: int, more: bool) -> None:
        lane, model = self.busy[at % len(self.busy)]
        assert lane.head == model.items.pop(0)
        self.lanes.settle_head(lane)
        model.taken = 1
        assert lane.attempt == (2 if model.items and model.items[0] in model.alone else 1)
        if not (more and lane.items):
            self._give_back(at)

    @precondition(lambda self: self.busy)
    @rule(at=PICK)
    def exchange(self, at: int) -> None:
        lane, model = self.busy.pop(at % len(self.busy))
        assert lane.head == model.items.pop(0)
        following = self.lanes.exchange(lane, now=self.now)
        model.taken = 1
        # The due ones join the line behind the lane that was given back.
        if model.items:
            self.ready.append(model)
        else:
            del self.models[model.name]
        again = self._let_due_ones_join()
        if again is None and (not self.ready or self._is_held()):
            assert following is None
            return
        assert following is not None
        assert following.state is LaneState.BUSY
        expected = again or self._next()
        assert following.name == expected.name
        assert following.head == expected.items[0]
        self.busy.append((following, expected))

    @precondition(lambda self: self.busy)
    @rule(at=PICK, wanted=st.integers(1, 4))
    def take_a_batch_in_hand(self, at: int, wanted: int) -> None:
        lane, model = self.busy[at % len(self.busy)]
        if lane.taken == 1:
            lane.taken = model.taken = 1 if lane.solo else min(wanted, len(lane.items))

    @precondition(lambda self: self.busy)
    @rule(at=PICK, outcomes=st.lists(st.booleans(), min_size=4, max_size=4))
    def settle_a_batch(self, at: int, outcomes: list[bool]) -> None:
        lane, model = self.busy[at % len(self.busy)]
        settled = outcomes[: model.taken]
        failed = [item for item, done in zip(model.items, settled, strict=False) if not done]
        model.items = failed + model.items[model.taken :]
        model.alone |= set(failed)
        model.taken = 1
        self.lanes.settle_batch(lane, settled)
        assert [item for item, _ in lane.items] == model.items, "what failed stays in front, in order"
        if all(settled):
            self._give_back(at)

    @precondition(lambda self: self.busy)
    @rule(at=PICK, after=st.integers(0, 5))
    def fail(self, at: int, after: int) -> None:
        lane, model = self.busy.pop(at % len(self.busy))
        lane.taken = model.taken = 1
        self.lanes.wait(lane, due=self.now + after)
        self._wait(lane, model, self.now + after)

    @precondition(lambda self: self.busy)
    @rule(at=PICK)
    def put_back(self, at: int) -> None:
        lane, model = self.busy.pop(at % len(self.busy))
        lane.taken = model.taken = 1
        self.lanes.put_back(lane)
        self.ready.insert(0, model)

    @rule(bit=st.sampled_from([BREAKER, FLOOD]))
    def close(self, bit: int) -> None:
        self.closed |= bit
        self.lanes.close(bit, now=self.now)

    @rule(bit=st.sampled_from([BREAKER, FLOOD]))
    def open(self, bit: int) -> None:
        self.closed &= ~bit
        self.lanes.open(bit)
        if not self.closed:
            self.trials = 0
            self.tried = []

    @precondition(lambda self: self.closed)
    @rule()
    def allow_a_trial(self) -> None:
        self.lanes.trials = self.trials = 1

    @precondition(lambda self: self.waiting)
    @rule(at=PICK, by=st.integers(0, 5))
    def hasten(self, at: int, by: int) -> None:
        lane, model = self.waiting[at % len(self.waiting)]
        due = max(self.now, model.due[0] - by)
        self.lanes.hasten(lane, due=due)
        if due < model.due[0]:
            self.tickets += 1
            model.due = (due, self.tickets)

    @precondition(lambda self: self.busy)
    @rule(at=PICK)
    def block(self, at: int) -> None:
        lane, model = self.busy.pop(at % len(self.busy))
        lane.taken = model.taken = 1
        self.lanes.block(lane)
        self.blocked.append((lane, model))

    @precondition(lambda self: self.blocked)
    @rule(at=PICK)
    def unblock(self, at: int) -> None:
        lane, model = self.blocked.pop(at % len(self.blocked))
        self.lanes.unblock(lane)
        self.busy.append((lane, model))

    @rule(by=st.integers(1, 3))
    def pass_time(self, by: int) -> None:
        self.now += by

    @rule(place=st.sampled_from(PLACES))
    def purge(self, place: tuple[str, int]) -> None:
        held = [model for _, model in self.busy + self.blocked]
        expected = 0
        for model in [model for model in self.models.values() if model.name[0] == place]:
            keep = model.taken if model in held else 0
            expected += len(model.items) - min(keep, len(model.items))
            model.items = model.items[:keep]
            if not model.items:
                del self.models[model.name]
        self.ready = [model for model in self.ready if model.items]
        self.waiting = [(lane, model) for lane, model in self.waiting if model.items]
        assert self.lanes.purge({place}) == expected

    # --- what always holds ------------------------------------------------------------------------------

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        total = sum(len(model.items) for model in self.models.values())
        assert self.lanes.count == total
        assert self.lanes.size == total * SIZE
        assert self.lanes.busy == len(self.busy)
        assert self.lanes.blocked == len(self.blocked)
        for place in PLACES:
            of_place = [model for model in self.models.values() if model.name[0] == place]
            held = sum(len(model.items) for model in of_place)
            assert self.lanes.held(place) == held
            assert self.lanes.held_size(place) == held * SIZE
            working = [lane for lane, _ in self.busy + self.blocked if lane.place == place]
            assert self.lanes.working({place}) == len(working)

    @invariant()
    def failures_of_batches_are_known_at_the_front(self) -> None:
        for lane, model in self.busy + self.blocked + self.waiting:
            alone = [item in model.alone for item in model.items]
            assert lane.solo == (alone.index(False) if False in alone else len(alone))

    def teardown(self) -> None:
        """With time and hands enough, everything left gets worked, in order, in as many takes as there are lanes."""
        self.lanes.open(BREAKER | FLOOD)
        for lane, _ in self.blocked:
            self.lanes.unblock(lane)
        for lane, _ in self.busy + self.blocked:
            lane.taken = 1
            self.lanes.give_back(lane)
        self.now += 1000
        for _ in range(len(self.models)):
            taken = self.lanes.take(now=self.now)
            assert taken is not None
            assert taken.state is LaneState.BUSY
            name: Any = taken.name
            model = self.models.pop(name)
            while taken.items:
                assert taken.head == model.items.pop(0)
                self.lanes.settle_head(taken)
            self.lanes.give_back(taken)
        assert self.lanes.take(now=self.now) is None
        assert self.lanes.count == 0

    # --- the model's own moves --------------------------------------------------------------------------

    def _is_held(self) -> bool:
        return bool(self.closed) and not self.trials

    def _next(self) -> Model:
        """Return the first in line; while all is held back a trial is used up by it."""
        model = self.ready.pop(0)
        if self.closed:
            self.trials -= 1
            self.tried.append(model)
        return model

    def _item(self, name: Name) -> Item:
        self.number += 1
        return (name[0][0], name[1], self.number)

    def _give_back(self, at: int) -> None:
        lane, model = self.busy.pop(at % len(self.busy))
        lane.taken = model.taken = 1
        self.lanes.give_back(lane)
        if model.items:
            self.ready.append(model)
        else:
            del self.models[model.name]

    def _wait(self, lane: Lane[Item], model: Model, due: float) -> None:
        self.tickets += 1
        model.due = (due, self.tickets)
        self.waiting.append((lane, model))

    def _let_due_ones_join(self) -> Model | None:
        """Put what is due in line; while all is held back, return the first that was begun before all the same."""
        joined: list[tuple[Lane[Item], Model]] = []
        again: Model | None = None
        for _, at in sorted((model.due, at) for at, (_, model) in enumerate(self.waiting) if model.due[0] <= self.now):
            one = self.waiting[at]
            joined.append(one)
            if self.closed and one[1] in self.tried:
                again = one[1]
                break
            self.ready.append(one[1])
        self.waiting = [one for one in self.waiting if one not in joined]
        return again


LaneLife.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
test_any_history_of_lanes_keeps_order_and_counts = LaneLife.TestCase
