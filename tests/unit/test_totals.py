from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.histogram import RECORDS, Exemplar, Histogram, Tally, added, grown
from supervisor.core.totals import MOST_NAMES, OTHER, GroupTotals, SlotTotals, group_totals, slot_totals
from supervisor.core.worker_stats import WorkerStats


def tallied(*values: float) -> Histogram:
    tally = Tally(RECORDS)
    for value in values:
        tally.note(value)
    return tally.frozen()


def test_a_value_counts_in_the_first_bucket_that_is_not_below_it() -> None:
    counted = tallied(1, 2, 3, 10_000)

    assert counted.counts[:3] == (1, 1, 1)
    assert counted.counts[-1] == 1, "above all bounds"
    assert counted.total == 10_006


def test_a_tally_that_counts_nothing_new_is_the_same_value() -> None:
    tally = Tally(RECORDS)
    tally.note(5, 3)
    first = tally.frozen()

    assert tally.frozen() is first
    tally.note(5)
    assert tally.frozen() == Histogram((0, 0, 4, *[0] * 10), 20.0)


@given(st.lists(st.lists(st.integers(0, 6000), max_size=5), max_size=6))
def test_growth_added_up_is_everything_that_was_counted(chunks: list[list[int]]) -> None:
    tally, total, before = Tally(RECORDS), Histogram(), Histogram()
    for chunk in chunks:
        for value in chunk:
            tally.note(value)
        now = tally.frozen()
        total, before = added(total, grown(before, now)), now

    assert sum(total.counts) == sum(map(len, chunks))
    assert total.total == sum(map(sum, chunks))


def test_a_histogram_that_went_down_began_anew() -> None:
    assert grown(tallied(1, 1, 5), tallied(1)) == tallied(1)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=5), max_size=5))
def test_counters_go_on_over_incarnations_and_never_back(lives: list[list[int]]) -> None:
    totals, seen = SlotTotals(), [0]
    for life in lives:
        before = WorkerStats()
        for growth in life:
            now = WorkerStats(settled=before.settled + growth, received=before.settled + growth)
            totals, before = slot_totals(totals, before, now), now
            seen.append(totals.settled)

    assert totals.settled == sum(map(sum, lives))
    assert totals.received == totals.settled
    assert seen == sorted(seen)


def test_a_counter_that_went_down_within_an_incarnation_counts_from_zero() -> None:
    totals = slot_totals(SlotTotals(settled=100), WorkerStats(settled=80), WorkerStats(settled=5))

    assert totals.settled == 105


def test_names_that_workers_make_up_are_bounded_and_plain_words() -> None:
    errors = {f"CODE_{number}": 1 for number in range(100)} | {"x" * 100: 1, 'a"b\n': 1}

    totals = slot_totals(SlotTotals(), WorkerStats(), WorkerStats(commit_errors=errors))

    assert len(totals.commit_errors) <= MOST_NAMES + 1
    assert totals.commit_errors[OTHER] == 102 - MOST_NAMES
    assert all(name == OTHER or name.startswith("CODE_") for name in totals.commit_errors)


def test_every_counter_of_a_worker_is_in_the_totals() -> None:
    gauges = {"in_flight", "queued", "queued_bytes", "oldest", "lag", "waits", "paused", "partitions", "owned"}
    gauges |= {"paused_partitions", "queue_fill"}
    by_event = {"dead_lettered"}  # their events are counted, by disposition
    told = {one.name for one in fields(WorkerStats)} - gauges - by_event

    assert told == {one.name for one in (*fields(SlotTotals), *fields(GroupTotals))} - {"letters"}


ID = "0af7651916cd43dd8448eb211c80319c"


def test_the_last_sound_exemplar_of_each_bucket_is_kept() -> None:
    known = (Exemplar(0.002, ID, 1.0), Exemplar(0.2, ID, 1.0))
    more = (Exemplar(0.0021, ID, 2.0), Exemplar(0.0022, "no id", 3.0), Exemplar(float("nan"), ID, 3.0))

    totals = group_totals(GroupTotals(), WorkerStats(), WorkerStats(exemplars=known))
    totals = group_totals(totals, WorkerStats(), WorkerStats(exemplars=more))

    assert totals.exemplars == (more[0], known[1])


def test_histograms_of_a_group_add_up_over_its_workers() -> None:
    totals = GroupTotals()
    for worker in (WorkerStats(handled=tallied(1, 2)), WorkerStats(handled=tallied(1))):
        totals = group_totals(totals, WorkerStats(), worker)

    assert totals.handled == tallied(1, 2, 1)
