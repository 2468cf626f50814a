"""Whatever workers say and however they come and go: one breaker, one prober, one event each way, and an end to it."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.backoff import Backoff
from supervisor.core.breaker import Breaker, Step, heard_down, heard_nothing, heard_up, look, order_for, words
from supervisor.core.breaker import Group as Slots
from supervisor.core.hold import Hold, told, went_down
from supervisor.core.spec import BreakerOrder

SLOTS = 4
PATIENCE = 30.0

happenings = st.one_of(
    st.tuples(st.just("down"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("up"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("nothing"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("idle"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("gone"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("there"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("resume"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 100)),
)


@dataclass
class Group:
    """A group's breaker as the parent has it, and who is there."""

    breaker: Breaker = field(default_factory=Breaker)
    present: set[int] = field(default_factory=lambda: set(range(SLOTS)))
    now: float = 0.0
    events: list[str] = field(default_factory=list)

    def take(self, step: Step) -> None:
        self.breaker, reports = step
        self.events += [report.name for report in reports]

    @property
    def group(self) -> Slots:
        return Slots(all=range(SLOTS), present=sorted(self.present))

    def nothing(self, number: int, *, idle: bool) -> Step:
        return heard_nothing(self.breaker, number, self.group, idle=idle, patience=PATIENCE, now=self.now)

    def live_through(self, what: str, number: int) -> None:
        match what:
            case "down" if number in self.present:
                self.take(
                    heard_down(self.breaker, number, "db", failures=0, after=0.5, patience=PATIENCE, now=self.now)
                )
            case "up" if number in self.present:
                self.take(heard_up(self.breaker, by=f"slot {number}", now=self.now))
            case "nothing" if number in self.present:
                self.take(self.nothing(number, idle=False))
            case "idle" if number in self.present:
                self.take(self.nothing(number, idle=True))
            case "gone":
                self.present.discard(number)
            case "there":
                self.present.add(number)
            case "resume":
                self.take(heard_up(self.breaker, by="an operator", now=self.now))
            case "wait":
                self.now += number
        self.take((look(self.breaker, self.group, patience=PATIENCE, now=self.now), ()))


@given(st.lists(happenings, max_size=60))
def test_at_most_one_slot_tries_and_one_does_whenever_one_could(history: list[tuple[str, int]]) -> None:
    group = Group()

    for what, number in history:
        group.live_through(what, number)

        orders = [order_for(group.breaker, slot, now=group.now) for slot in range(SLOTS)]
        probers = [slot for slot, order in enumerate(orders) if order.probes]
        assert {order.is_open for order in orders} == {group.breaker.is_open}, "all are told the same"
        if not group.breaker.is_open:
            assert probers == []
        elif group.present:
            assert len(probers) == 1
            assert probers[0] in group.present
        assert bool(words(group.breaker, since="then", now=group.now)) == group.breaker.is_open


@given(st.lists(happenings, max_size=60))
def test_openings_and_closings_take_turns_and_each_is_one_event(history: list[tuple[str, int]]) -> None:
    group = Group()
    turns = 0

    for what, number in history:
        before = group.breaker.is_open
        group.live_through(what, number)
        turns += group.breaker.is_open is not before

    assert len(group.events) == turns
    assert group.events == ["breaker.opened", "breaker.closed"] * (turns // 2) + ["breaker.opened"] * (turns % 2)


def test_a_prober_that_is_not_heard_of_is_replaced() -> None:
    group = Group()
    group.live_through("down", 1)

    group.live_through("wait", 20)
    before = group.breaker.prober
    group.live_through("wait", 11)

    assert (before, group.breaker.prober) == (1, 2)


def test_the_role_goes_round_until_one_has_a_record() -> None:
    group = Group()
    group.live_through("down", 2)

    tried = []
    for _ in range(SLOTS):
        tried.append(group.breaker.prober)
        group.live_through("nothing", group.breaker.prober or 0)

    assert tried == [2, 3, 0, 1]


def test_a_breaker_of_a_group_in_which_no_record_waits_is_closed() -> None:
    group = Group()
    group.live_through("down", 2)

    for slot in (2, 3, 0):
        group.live_through("idle", slot)
    before = group.breaker
    group.live_through("idle", 1)

    assert (before.is_open, before.prober) == (True, 1)
    assert group.events == ["breaker.opened", "breaker.closed"]


@pytest.mark.parametrize("between", ["down", "nothing", "gone"])
def test_a_group_of_which_one_may_have_a_record_is_held(between: str) -> None:
    group = Group()
    group.live_through("down", 2)

    for slot in (2, 3, 0):
        group.live_through("idle", slot)
    group.live_through(between, 1)
    for _ in range(SLOTS - 1):
        group.live_through("idle", group.breaker.prober or 0)

    assert group.breaker.is_open
    assert group.breaker.prober in group.present


def test_a_breaker_that_opens_again_soon_goes_on_with_its_longer_waits() -> None:
    group = Group()
    for opened in range(3):
        group.live_through("down", 0)
        assert order_for(group.breaker, 0, now=group.now).failures == opened
        group.live_through("up", 0)
        group.live_through("wait", 5)

    group.live_through("wait", 100)
    group.live_through("down", 0)

    assert order_for(group.breaker, 0, now=group.now).failures == 0


@given(st.integers(0, 200), st.floats(0, 0.999))
def test_waits_between_tries_grow_and_stay_within_their_bounds(failures: int, chance: float) -> None:
    backoff = Backoff(initial=0.5, factor=2.0, max=30.0, jitter=0.25)
    hold: Hold | None = None

    waits = []
    for _ in range(failures + 1):
        hold = went_down(hold, "db", backoff=backoff, now=0.0, chance=chance)
        waits.append(hold.probe_at)

    assert waits == sorted(waits)
    assert all(0.375 <= wait <= 30.0 for wait in waits)


def test_a_worker_that_tries_keeps_its_time_when_it_is_told_what_it_knows() -> None:
    backoff = Backoff(initial=0.5, factor=2.0, max=30.0, jitter=0.0)
    mine = went_down(None, "db", backoff=backoff, now=10.0, chance=0.0)

    same = told(
        mine, BreakerOrder(is_open=True, name="db", probes=True, after=9.0), backoff=backoff, now=10.1, chance=0
    )
    more = told(
        mine, BreakerOrder(is_open=True, name="db", probes=True, failures=4), backoff=backoff, now=10.1, chance=0
    )
    other = told(mine, BreakerOrder(is_open=True, name="db"), backoff=backoff, now=10.1, chance=0.0)

    assert same == mine
    assert more is not None
    assert (more.failures, more.probe_at) == (4, 18.1)
    assert other is not None
    assert not other.probes
    assert told(mine, BreakerOrder(), backoff=backoff, now=10.1, chance=0.0) is None
