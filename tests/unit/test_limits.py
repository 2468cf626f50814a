from dataclasses import replace

import pytest

from supervisor.core.limits import Allowance, History, TooHeavy, Usage, Worn, first_of, remember, weigh

MB = 1_000_000
SOFT = Allowance(rss_soft=100 * MB, variance=0.0)


def worn(limit: str = "rss_soft", pressure: float = 1.0) -> Worn:
    return Worn(limit, "x", pressure)


def test_no_limit_is_never_reached() -> None:
    assert weigh(Allowance(), Usage(1e9, rss=10**15, settled=10**15), History(), chance=0.0) is None


@pytest.mark.parametrize("usage", [Usage(1e6), Usage(1e6, rss=None, settled=5)])
def test_a_reading_that_is_unknown_judges_nobody(usage: Usage) -> None:
    allowance = Allowance(rss_soft=1, rss_hard=1, max_records=10)

    assert weigh(allowance, usage, History(), chance=0.0) is None


@pytest.mark.parametrize(
    ("allowance", "usage", "limit"),
    [
        (SOFT, Usage(60.0, rss=101 * MB), "rss_soft"),
        (Allowance(max_records=1000, variance=0.0), Usage(60.0, settled=1000), "max_records"),
        (Allowance(max_age=60.0, variance=0.0), Usage(60.0), "max_age"),
    ],
)
def test_a_worker_over_a_soft_limit_is_worn_and_the_figures_say_of_what(
    allowance: Allowance, usage: Usage, limit: str
) -> None:
    found = weigh(allowance, usage, History(), chance=0.0)

    assert isinstance(found, Worn)
    assert found.limit == found.fields["limit"] == limit
    assert limit in found.text


def test_a_hard_limit_does_not_wait_for_anything() -> None:
    found = weigh(replace(SOFT, rss_hard=200 * MB), Usage(0.1, rss=200 * MB), History(patience=600.0), chance=0.0)

    assert isinstance(found, TooHeavy)
    assert found.fields["rss_bytes"] == 200 * MB
    assert found.text == "200.0 MB of memory, rss_hard is 200.0 MB"


def test_a_worker_lives_some_seconds_before_it_is_replaced_for_anything() -> None:
    allowance = Allowance(rss_soft=1, max_records=1, max_age=0.001)

    assert weigh(allowance, Usage(9.9, rss=10, settled=10), History(), chance=0.0) is None
    assert weigh(allowance, Usage(10.0, rss=10, settled=10), History(), chance=0.0) is not None


def test_chance_takes_away_the_variance_and_no_more() -> None:
    allowance = Allowance(max_records=1000, variance=0.2)

    assert weigh(allowance, Usage(60.0, settled=801), History(), chance=0.999) is not None
    assert weigh(allowance, Usage(60.0, settled=799), History(), chance=0.999) is None
    assert weigh(allowance, Usage(60.0, settled=999), History(), chance=0.0) is None


def test_a_replacement_for_memory_that_does_not_help_makes_the_next_process_live_longer() -> None:
    history = remember(History(), worn(), age=5 * 86400.0)
    assert not history.in_vain

    waits = []
    for _ in range(9):
        history = remember(history, worn(), age=max(10.0, history.patience))
        waits.append(history.patience)

    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, 3600.0]
    assert history.in_vain == 9
    assert weigh(SOFT, Usage(3599.0, rss=500 * MB), history, chance=0.0) is None
    assert weigh(SOFT, Usage(3600.0, rss=500 * MB), history, chance=0.0) is not None


def test_a_process_that_stayed_under_its_limit_for_long_makes_the_earlier_ones_forgotten() -> None:
    history = History(in_vain=2, patience=240.0)

    assert remember(history, worn(), age=599.0).in_vain == 3
    assert remember(history, worn(), age=601.0).in_vain == 0


def test_replacements_for_records_or_age_say_nothing_of_memory() -> None:
    history = History(in_vain=2, patience=240.0)

    assert remember(history, worn("max_records"), age=20.0) == remember(history, worn("max_age"), age=20.0) == history


def test_of_several_worn_workers_the_one_furthest_over_goes_and_then_the_lowest() -> None:
    assert first_of([worn(pressure=1.1), None, worn(pressure=1.5)], is_moving=False) == 2
    assert first_of([None, worn(), worn()], is_moving=False) == 1
    assert first_of([None, None], is_moving=False) is None


def test_all_wait_while_another_slot_of_the_group_is_on_its_way() -> None:
    assert first_of([worn(), worn()], is_moving=True) is None
