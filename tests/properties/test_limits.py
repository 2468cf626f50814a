from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.limits import Allowance, History, TooHeavy, Usage, Worn, first_of, remember, weigh

sizes = st.integers(1, 10**12)
allowances = st.builds(
    Allowance,
    rss_soft=st.none() | sizes,
    rss_hard=st.none() | sizes,
    max_records=st.none() | st.integers(1, 10**9),
    max_age=st.none() | st.floats(0.001, 1e7),
    variance=st.floats(0, 1),
)
usages = st.builds(Usage, st.floats(0, 1e7), rss=st.none() | sizes, settled=st.none() | st.integers(0, 10**9))
histories = st.builds(History, st.integers(0, 20), st.sampled_from([0.0, 10.0, 60.0, 3600.0]))
chances = st.floats(0, 0.999)


@given(allowances, usages, histories, chances)
def test_a_verdict_is_always_for_a_limit_that_is_set_and_a_reading_that_was_taken(
    allowance: Allowance, usage: Usage, history: History, chance: float
) -> None:
    found = weigh(allowance, usage, history, chance=chance)

    if isinstance(found, TooHeavy):
        assert usage.rss is not None
        assert allowance.rss_hard is not None
        assert usage.rss >= allowance.rss_hard
    if isinstance(found, Worn):
        limit = getattr(allowance, found.limit)
        used = {"rss_soft": usage.rss, "max_records": usage.settled, "max_age": usage.age}[found.limit]
        assert used >= limit * (1 - allowance.variance)
        assert usage.age >= allowance.shortest_life


@given(allowances, usages, chances)
def test_more_is_never_judged_milder(allowance: Allowance, usage: Usage, chance: float) -> None:
    def strength(used: Usage) -> int:
        found = weigh(allowance, used, History(), chance=chance)
        return 0 if found is None else 1 if isinstance(found, Worn) else 2

    more = Usage(
        usage.age * 2,
        rss=None if usage.rss is None else usage.rss * 2,
        settled=None if usage.settled is None else usage.settled * 2,
    )

    assert strength(more) >= strength(usage)


@given(st.lists(st.floats(0, 5000), max_size=200), st.floats(0, 0.999))
def test_a_worker_that_is_always_too_big_is_replaced_ever_less_often(extra: list[float], chance: float) -> None:
    allowance, history, now = Allowance(rss_soft=1), History(), 0.0
    at = []
    for late in extra:
        age = max(allowance.shortest_life, history.patience) + late % 1.0
        found = weigh(allowance, Usage(age, rss=100), history, chance=chance)
        assert isinstance(found, Worn)
        history, now = remember(history, found, age=age), now + age
        at.append(now)

    for begin in at:
        assert len([one for one in at if begin <= one < begin + 3600]) <= 8
    assert len(at) <= 8 + now / 3600


@given(st.lists(st.none() | st.builds(Worn, st.just("max_age"), st.just(""), st.floats(1, 10)), max_size=20))
def test_one_of_those_that_are_worn_is_chosen_and_none_is_further_over(found: list[Worn | None]) -> None:
    place = first_of(found, is_moving=False)

    there = [one for one in found if one is not None]
    if place is None:
        assert there == []
        return
    chosen = found[place]
    assert chosen is not None
    assert all(chosen.pressure >= one.pressure for one in there)
