"""When dead letters are a flood: never below the limits, always at them, and one event for each time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.flood import Flood, look, order_for, resume, trip, words
from supervisor.core.flood_window import TRIALS, FloodWindow, Trial, trial
from supervisor.core.spec import FloodAction, FloodSpec, FloodState

RATIO = FloodSpec(ratio=0.5, min_records=20, window=60.0)
ROW = FloodSpec(consecutive=5)
RATE = FloodSpec(rate_count=10, rate_seconds=60.0)

moves = st.lists(st.tuples(st.sampled_from(["letter", "fine", "wait"]), st.integers(1, 5)), max_size=200)


def play(spec: FloodSpec, history: list[tuple[str, int]]) -> list[tuple[float, str, str]]:
    """Return (time, what, reason) of each single record, in order, as a window judged it."""
    window, now, letters, others = FloodWindow(spec, now=0.0), 0.0, 0, 0
    seen: list[tuple[float, str, str]] = []
    for what, count in history:
        for _ in range(count):
            match what:
                case "letter":
                    letters += 1
                    seen.append((now, what, window.reason(letters, others, now=now)))
                case "fine":
                    others += 1
                    seen.append((now, what, ""))
                case _:
                    now += 1.0
                    window.sample(letters, others, now=now)
    return seen


@given(moves)
def test_in_a_row_means_without_any_other_settled_record_between(history: list[tuple[str, int]]) -> None:
    row = 0

    for _, what, reason in play(ROW, history):
        row = row + 1 if what == "letter" else 0
        if what == "letter":
            assert bool(reason) == (row >= 5)


@given(moves)
def test_a_rate_is_reached_by_so_many_within_that_time_and_not_by_fewer(history: list[tuple[str, int]]) -> None:
    times: list[float] = []

    for now, what, reason in play(RATE, history):
        if what == "letter":
            times.append(now)
            assert bool(reason) == (len(times) >= 10 and now - times[-10] < 60.0)


@given(moves)
def test_a_ratio_is_of_what_settled_within_about_the_window(history: list[tuple[str, int]]) -> None:
    records: list[tuple[float, bool]] = []

    for now, what, reason in play(RATIO, history):
        records.append((now, what == "letter"))
        of_late = [dead for at, dead in records if at > now - 60.0]
        a_bit_longer = [dead for at, dead in records if at >= now - 62.0]
        is_over = [len(some) >= 20 and sum(some) >= 0.5 * len(some) for some in (of_late, a_bit_longer)]
        if what == "letter" and is_over[0] == is_over[1]:
            assert bool(reason) == is_over[0]


def test_a_group_that_worked_well_until_now_trips_when_the_share_says_so_and_not_by_the_first_failures() -> None:
    window = FloodWindow(RATIO, now=0.0)
    for second in range(1, 61):
        window.sample(0, second * 10, now=float(second))

    reasons = [window.reason(letters, 600, now=60.5) for letters in range(1, 700)]

    assert reasons.index(next(filter(None, reasons))) + 1 >= 580
    assert "of 1" in next(filter(None, reasons))


def test_the_sum_of_workers_knows_no_row_where_anything_else_settled_meanwhile() -> None:
    window = FloodWindow(ROW, now=0.0, is_exact=False)

    assert not window.reason(50, 1000, now=1.0)
    assert window.reason(55, 1000, now=2.0) == "5 dead letters in a row"


def test_after_an_operators_word_nothing_trips_until_a_whole_window_was_within_the_limits() -> None:
    window = FloodWindow(ROW, now=0.0)
    window.clear(0, 0, now=0.0, amnesty=True)

    while_it_goes_on = [window.reason(letters, 0, now=letters / 2) for letters in range(1, 400)]
    window.sample(399, 0, now=200.0)
    still = window.reason(400, 0, now=201.0)
    window.sample(400, 50, now=202.0)
    again = [window.reason(letters, 50, now=203.0) for letters in range(401, 406)]

    assert not any(while_it_goes_on)
    assert not still
    assert again == ["", "", "", "", "5 dead letters in a row"]


@given(st.lists(st.booleans(), max_size=TRIALS * 2))
def test_those_that_try_decide_within_their_number(outcomes: list[bool]) -> None:
    letters = others = 0

    for is_letter in outcomes:
        assert trial(letters, others) is Trial.OPEN
        letters, others = letters + is_letter, others + (not is_letter)
        if trial(letters, others) is not Trial.OPEN:
            break

    assert letters + others <= TRIALS
    if letters + others == TRIALS:
        assert trial(letters, others) is not Trial.OPEN


@given(
    st.sampled_from(list(FloodAction)),
    st.one_of(st.none(), st.floats(1, 100)),
    st.lists(st.sampled_from(["trip", "passed", "resume", "wait"]), max_size=40),
)
def test_each_time_is_one_event_and_each_end_is_one(
    action: FloodAction, resume_after: float | None, history: list[str]
) -> None:
    spec = FloodSpec(consecutive=5, action=action, resume_after=resume_after)
    flood, now, events = Flood(), 0.0, list[str]()

    for what in history:
        before = flood
        match what:
            case "trip":
                flood, reports = trip(flood, "many", spec, by="slot 0", now=now)
            case "passed" if flood.state is FloodState.HALF_OPEN:
                flood, reports = resume(flood, by="slot 0", now=now)
            case "resume":
                flood, reports = resume(flood, by="an operator", now=now, amnesty=True)
            case _:
                now += 30.0
                flood, reports = look(flood, spec, now=now)
        names = [report.name for report in reports]
        events += names
        assert names == ["flood.tripped"] * (flood.is_tripped and not before.is_tripped) + ["flood.resumed"] * (
            before.is_tripped and not flood.is_tripped
        )
        assert bool(words(flood, "orders", action, since="then", now=now)) == flood.is_tripped
        assert flood.stopped <= (action is FloodAction.STOP)
        if action is not FloodAction.PAUSE:
            assert order_for(flood).state is not FloodState.HALF_OPEN

    assert events[1::2] == ["flood.resumed"] * (len(events) // 2)


@pytest.mark.parametrize(
    ("flood", "action", "expected"),
    [
        (Flood(FloodState.TRIPPED, 0.0, "many"), FloodAction.PAUSE, "flood: many since then: supervisor resume orders"),
        (
            Flood(FloodState.TRIPPED, 0.0, "many", resume_at=40.0),
            FloodAction.PAUSE,
            "flood: many since then: supervisor resume orders, tries by itself in 30s",
        ),
        (
            Flood(FloodState.TRIPPED, 0.0, "many", resume_at=40.0),
            FloodAction.SHED,
            "flood: many; records that fail are dropped since then: supervisor resume orders, counts anew in 30s",
        ),
        (Flood(FloodState.HALF_OPEN, 0.0, "many"), FloodAction.PAUSE, "flood: many since then; a few records try"),
        (
            Flood(since=0.0, reason="many", stopped=True),
            FloodAction.STOP,
            "flood: many; stopped since then: supervisor start orders",
        ),
    ],
)
def test_it_is_told_in_words(flood: Flood, action: FloodAction, expected: str) -> None:
    assert words(flood, "orders", action, since="then", now=10.0) == expected


@pytest.mark.parametrize(
    ("action", "resume_after", "expected"),
    [
        (FloodAction.PAUSE, 300.0, "many: no record is begun, a few records try later"),
        (FloodAction.PAUSE, None, "many: no record is begun, until an operator resumes it"),
        (FloodAction.STOP, 300.0, "many: the group is stopped, until somebody starts it"),
        (FloodAction.SHED, 300.0, "many: records that fail are dropped, for 5m"),
        (FloodAction.SHED, None, "many: records that fail are dropped, until an operator resumes it"),
    ],
)
def test_what_is_done_and_for_how_long_is_told(action: FloodAction, resume_after: float | None, expected: str) -> None:
    spec = FloodSpec(action=action, resume_after=resume_after)

    _, (told,) = trip(Flood(), "many", spec, by="slot 0", now=0.0)

    assert told.text == expected
