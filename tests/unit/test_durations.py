import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("2d", 172_800.0),
        ("1h 30m", 5400.0),
    ],
)
def test_a_duration_is_a_sum_of_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "30 sec", "-5s", "1h30", "5M", "1,5s", "five minutes"])
def test_what_is_no_duration_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="'30s'") as refused:
        parse_duration(text)

    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.04, "40ms"),
        (4.2, "4.2s"),
        (5.0, "5s"),
        (41.7, "41s"),
        (60, "1m"),
        (3600 * 3 + 60 * 12 + 5, "3h12m"),
        (86_400 * 2, "2d"),
        (86_400 * 2 + 3600, "2d1h"),
    ],
)
def test_a_table_shows_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**7))
def test_what_is_shown_can_be_written_and_is_never_more_than_the_truth(seconds: int) -> None:
    shown = parse_duration(format_duration(seconds))

    assert seconds - 3600 < shown <= seconds


@given(st.floats(min_value=0, max_value=86_400 * 30))
def test_every_length_is_shown_as_something_that_can_be_written(seconds: float) -> None:
    parse_duration(format_duration(seconds))
