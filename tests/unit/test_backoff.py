import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.backoff import Backoff

policies = st.builds(
    Backoff,
    initial=st.floats(min_value=0.001, max_value=10),
    factor=st.floats(min_value=1, max_value=10),
    max=st.floats(min_value=10, max_value=3600),
    jitter=st.floats(min_value=0, max_value=1),
)
chances = st.floats(min_value=0, max_value=1, exclude_max=True)


def test_without_jitter_each_delay_is_the_last_times_the_factor_up_to_the_maximum() -> None:
    policy = Backoff(initial=0.2, factor=2, max=1.0, jitter=0)

    delays = [policy.delay(k, chance=0.9) for k in range(5)]

    assert delays == pytest.approx([0.2, 0.4, 0.8, 1.0, 1.0])


def test_full_jitter_may_take_all_of_a_delay_away() -> None:
    policy = Backoff(initial=1, factor=2, max=60, jitter=1)

    assert policy.delay(3, chance=0) == 8
    assert policy.delay(3, chance=0.75) == 2


def test_a_count_no_float_can_hold_gives_the_maximum() -> None:
    assert Backoff(initial=1.0, factor=2.0, max=60, jitter=0).delay(100_000, chance=0) == 60


@given(policies, st.integers(min_value=0, max_value=10_000), chances)
def test_a_delay_is_never_negative_and_never_above_the_maximum(policy: Backoff, k: int, chance: float) -> None:
    assert 0 <= policy.delay(k, chance=chance) <= policy.max


@given(policies, st.integers(min_value=0, max_value=100), chances)
def test_with_the_same_chance_delays_never_shrink(policy: Backoff, k: int, chance: float) -> None:
    assert policy.delay(k, chance=chance) <= policy.delay(k + 1, chance=chance)
