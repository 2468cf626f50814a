"""Scaling under any history of readings, and its rules one by one."""

import math

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.autoscale import Rules, Scaling, WorkerRange, advise
from supervisor.core.lag import PartitionLag

RULES = Rules(WorkerRange(1, 8, 100))
EVERY = 5.0

ranges = st.builds(
    lambda low, more, target: WorkerRange(low, low + more, target),
    st.integers(1, 6),
    st.integers(0, 10),
    st.integers(1, 1000),
)
readings = st.one_of(
    st.none(),
    st.lists(st.tuples(st.integers(0, 50), st.one_of(st.none(), st.integers(0, 5000))), max_size=12),
)


def parts(*lags: int | None, committed: int = 0) -> list[PartitionLag]:
    return [PartitionLag("t", at, committed, committed + (lag or 0), lag) for at, lag in enumerate(lags)]


class Group:
    """A group that is scaled as advised; its committed offsets move unless a test says otherwise."""

    def __init__(self, rules: Rules = RULES, workers: int = 1) -> None:
        self.rules = rules
        self.workers = workers
        self.memory = Scaling()
        self.now = 0.0
        self.reasons: list[str] = []
        self.history: list[tuple[float, int]] = []

    def read(self, partitions: list[PartitionLag] | None, *, hosts: int = 1, after: float = EVERY) -> int:
        self.now += after
        self.memory, advice = advise(
            self.rules, self.memory, partitions, workers=self.workers, hosts=hosts, now=self.now
        )
        if advice is not None:
            self.workers = advice.workers
            self.reasons.append(advice.reason)
            self.history.append((self.now, advice.workers))
        return self.workers

    def read_for(self, seconds: float, *lags: int | None, hosts: int = 1, moves: bool = True) -> int:
        for at in range(math.ceil(seconds / EVERY)):
            self.read(parts(*lags, committed=at if moves else 0), hosts=hosts)
        return self.workers


@given(ranges, st.integers(1, 20), st.lists(st.tuples(readings, st.floats(0.1, 400), st.integers(1, 4)), max_size=60))
def test_no_history_of_readings_leaves_the_range_the_partitions_or_the_damping(
    wanted: WorkerRange, workers: int, life: list[tuple[list[tuple[int, int | None]] | None, float, int]]
) -> None:
    group = Group(Rules(wanted), workers)
    changed = -math.inf
    for reading, after, hosts in life:
        before = group.workers
        partitions = (
            None
            if reading is None
            else [
                PartitionLag("t", at, committed, committed + (lag or 0), lag)
                for at, (committed, lag) in enumerate(reading)
            ]
        )
        now = group.read(partitions, hosts=hosts, after=after)

        if now == before:
            continue
        assert partitions, "an unknown lag changes nothing"
        if now > before:
            assert now <= min(wanted.max, len(partitions)), "never above the range or the partitions"
            assert now <= max(2 * before, wanted.min)
            assert group.now - changed >= group.rules.grow_every
        else:
            assert now == before - 1, "down is one step at a time"
            assert now >= min(wanted.min, len(partitions), wanted.max)
            assert group.now - changed >= group.rules.cooldown
        changed = group.now


def test_lag_brings_workers_at_once_but_at_most_doubles_them_each_half_minute() -> None:
    group = Group()

    assert group.read(parts(*[200] * 8)) == 2
    group.read_for(60, *[200] * 8)
    assert [workers for _, workers in group.history] == [2, 4, 8]
    assert all(
        later - earlier >= 30 for (earlier, _), (later, _) in zip(group.history, group.history[1:], strict=False)
    )


def test_a_group_has_no_more_workers_than_partitions_that_lag() -> None:
    group = Group()

    group.read_for(300, 100_000, 100_000, 100_000, 0, 0, 0)

    assert group.workers == 3
    assert group.reasons[-1] == "lag 300000 in 3 of 6 partitions, target 100 per worker"


def test_workers_go_one_by_one_each_after_a_whole_cooldown_of_too_many() -> None:
    group = Group(workers=4)

    assert group.read_for(295, *[0] * 8) == 4
    group.read(parts(*[0] * 8), after=10)
    assert group.workers == 3
    assert group.read_for(200, *[0] * 8) == 3
    assert group.read_for(2000, *[0] * 8) == 1


def test_one_busy_reading_starts_the_cooldown_anew() -> None:
    group = Group(workers=2)

    group.read_for(250, 0, 0)
    group.read(parts(100, 100))
    assert group.read_for(250, 0, 0) == 2
    group.read(None)
    assert group.read_for(250, 0, 0) == 2
    assert group.read_for(100, 0, 0) == 1


def test_an_unknown_lag_changes_nothing() -> None:
    group = Group(workers=3)

    for _ in range(1000):
        group.read(None)
        group.read([])

    assert group.workers == 3


def test_a_partition_that_stands_still_while_it_lags_is_left_out() -> None:
    group = Group(workers=2)

    for at in range(100):
        group.read([PartitionLag("t", 0, 7, 90_007, 90_000), *parts(0, 0, 0, committed=at)[1:]])

    assert group.workers == 1
    assert "1 stuck partitions left out" in group.reasons[-1]


def test_a_group_that_stands_still_as_a_whole_is_left_as_it_is() -> None:
    group = Group(workers=4)

    assert group.read_for(2000, *[90_000] * 4, moves=False) == 4


def test_supervisors_that_work_the_same_group_share_what_is_wanted() -> None:
    assert Group().read_for(600, *[200] * 8, hosts=2) == 4
    assert Group().read_for(600, *[200] * 8, hosts=3) == 3


def test_a_number_outside_the_range_goes_back_into_it() -> None:
    assert Group(Rules(WorkerRange(3, 8, 100)), workers=1).read(parts(*[0] * 8)) == 3
    assert Group(Rules(WorkerRange(1, 2, 100)), workers=4).read_for(2000, *[500] * 8) == 2


def test_a_group_whose_minimum_is_above_its_partitions_gets_one_worker_each() -> None:
    assert Group(Rules(WorkerRange(4, 8, 100))).read_for(600, 5000, 5000) == 2
