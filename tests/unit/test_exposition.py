from dataclasses import replace

from supervisor.core.exits import ExitClass
from supervisor.core.exposition import MOST_PARTITIONS, MOST_TOPICS, Others, Sample, Scene, samples
from supervisor.core.histogram import Histogram
from supervisor.core.lag import GroupLag, PartitionLag
from supervisor.core.metrics_catalog import CATALOG, Kind
from supervisor.core.readiness import readiness
from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.core.totals import GroupTotals, SlotTotals
from supervisor.core.worker_stats import PartitionStats, WorkerStats
from supervisor.plugin import Disposition

STATS = WorkerStats(settled=7, owned=1, waits="eof", partitions=(PartitionStats("orders", 0, 5, 2, gap=1),))
RUNNING = SlotSnapshot("orders", 0, SlotState.RUNNING, pid=4, uptime=9.0, joined=True, healthy=True, stats=STATS)
DEAD = SlotSnapshot("orders", 1, SlotState.BACKOFF, incarnation=3, reason="SIGSEGV")
WHOLE = Histogram((1, *[0] * 20), 1e-6)


def snapshot(*groups: GroupSnapshot) -> Snapshot:
    return Snapshot("web-1", "1.2.3", 1, at=1000.0, uptime=10.0, groups=groups)


def group(*slots: SlotSnapshot, lag: GroupLag | None = None) -> GroupSnapshot:
    return GroupSnapshot("orders", ("orders",), len(slots), slots, lag=lag)


def shown(scene: Scene) -> dict[tuple[str, tuple[str, ...]], float | Histogram]:
    found = list(samples(scene))
    keys = [(one.metric, one.labels) for one in found]
    assert len(keys) == len(set(keys)), "a series twice"
    return {(one.metric, one.labels): one.value for one in found}


def lag(count: int, *, topics: int = 1) -> GroupLag:
    rows = tuple(
        PartitionLag(f"t{topic:05}", part, 1, 4, 3, owner="") for topic in range(topics) for part in range(count)
    )
    return GroupLag(total=3 * len(rows), age=1.0, partitions=rows, members=())


def test_every_sample_is_of_the_catalogue_with_its_labels_and_kind() -> None:
    scene = Scene(
        snapshot(
            group(RUNNING, DEAD, lag=replace(lag(2), partitions=(PartitionLag("orders", 0, 1, 4, 3, owner="x"),)))
        ),
        slots={("orders", 0): SlotTotals(letters={"error": 1}, commit_errors={"X": 1}, rebalances={"lost": 1})},
        groups={"orders": GroupTotals(handled=WHOLE, batches=WHOLE)},
        exits={("orders", "signal"): 1},
        events={("worker.exited", "warning"): 1},
        others=Others(
            {"inspector": True},
            {("worker.exited", "warning"): 2},
            1,
            (("lag", "warning"),),
            {("slack", "delivered"): 2},
            {"slack": 0},
        ),
    )

    seen = set()
    for sample in samples(scene):
        metric = CATALOG[sample.metric]
        assert len(sample.labels) == len(metric.labels), sample
        assert isinstance(sample.value, Histogram) == (metric.kind is Kind.HISTOGRAM), sample
        seen.add(sample.metric)
    without = {"worker_resident_memory_bytes", "worker_open_fds", "worker_threads"}
    assert seen == CATALOG.keys() - without, "what the catalogue names and nobody shows"


def test_conditions_of_one_name_and_severity_are_counted_together() -> None:
    firing = (("lag", "warning"), ("lag", "warning"), ("no_progress", "critical"))

    found = shown(Scene(snapshot(), others=Others(firing=firing)))

    assert found["alerts_firing", ("lag", "warning")] == 2
    assert found["alerts_firing", ("no_progress", "critical")] == 1


def test_a_dead_worker_has_no_gauges_and_keeps_its_counters() -> None:
    totals = {("orders", 1): SlotTotals(settled=50)}

    found = shown(Scene(snapshot(group(RUNNING, DEAD)), slots=totals))

    assert found["records_settled", ("orders", "1")] == 50
    assert found["worker_starts", ("orders", "1")] == 3
    assert found["slot_progressing", ("orders", "1")] == 0
    assert ("records_in_flight", ("orders", "0")) in found
    assert ("records_in_flight", ("orders", "1")) not in found
    assert ("worker_start_time_seconds", ("orders", "1")) not in found


def test_what_alerts_look_at_is_shown_from_zero_on() -> None:
    found = shown(Scene(snapshot(group(RUNNING)), exits={("orders", "signal"): 2, ("orders", "survivor"): 1}))

    ends = {labels[1]: value for (metric, labels), value in found.items() if metric == "worker_exits"}
    assert ends == {kind.value: 0 for kind in ExitClass} | {"signal": 2, "survivor": 1}
    assert found["records_dead_lettered", ("orders", "0", "error")] == 0


def test_whatever_a_first_letter_or_rebalance_is_it_increases_from_zero() -> None:
    totals = SlotTotals(letters={"deserialization": 500, "own-word": 1})

    found = shown(Scene(snapshot(group(RUNNING)), slots={("orders", 0): totals}))

    letters = {labels[2]: value for (name, labels), value in found.items() if name == "records_dead_lettered"}
    assert letters == dict.fromkeys(Disposition, 0) | {"deserialization": 500, "own-word": 1}
    rebalances = {labels[2]: value for (name, labels), value in found.items() if name == "rebalances"}
    assert rebalances == {"assigned": 0, "revoked": 0, "lost": 0}


def test_a_stated_reason_is_a_series_of_its_own_and_nothing_else_is() -> None:
    odd = replace(RUNNING, stats=replace(STATS, waits="because"))

    assert shown(Scene(snapshot(group(RUNNING))))["slot_waiting", ("orders", "0", "eof")] == 1
    assert not [sample for sample in samples(Scene(snapshot(group(odd)))) if sample.metric == "slot_waiting"]


def test_lag_is_shown_of_partitions_that_nobody_owns() -> None:
    found = shown(Scene(snapshot(group(DEAD, lag=lag(2)))))

    assert found["partition_lag_records", ("orders", "t00000", "1")] == 3
    assert found["group_unowned_partitions", ("orders",)] == 2
    assert found["group_lag_records", ("orders",)] == 6


def test_without_an_inspector_workers_tell_the_lag_of_what_they_own() -> None:
    found = shown(Scene(snapshot(group(RUNNING))))

    assert found["partition_lag_records", ("orders", "orders", "0")] == 2
    assert found["partition_gap_records", ("orders", "orders", "0")] == 1
    assert ("partition_end_offset", ("orders", "orders", "0")) not in found
    assert ("group_lag_records", ("orders",)) not in found


def test_an_inspector_that_knows_nothing_hides_no_gap_and_makes_up_no_lag() -> None:
    found = shown(Scene(snapshot(group(RUNNING, lag=GroupLag(trouble="not read yet")))))

    assert found["partition_gap_records", ("orders", "orders", "0")] == 1
    assert found["partition_committed_offset", ("orders", "orders", "0")] == 5
    assert not any(name in {"partition_lag_records", "topic_lag_records", "group_lag_records"} for name, _ in found)


def test_partitions_and_topics_are_bounded_and_what_is_left_out_is_counted() -> None:
    scene = Scene(snapshot(group(DEAD, lag=lag(10, topics=1000))))

    found = shown(scene)

    def count(name: str) -> int:
        return sum(metric == name for metric, _ in found)

    assert count("partition_lag_records") == count("partition_end_offset") == MOST_PARTITIONS
    assert count("topic_lag_records") == MOST_TOPICS
    assert found["series_omitted", ("partition",)] == 10_000 - MOST_PARTITIONS
    assert found["series_omitted", ("topic",)] == 1000 - MOST_TOPICS
    assert found["group_lag_records", ("orders",)] == 30_000, "the sum is whole"


def test_the_same_partitions_are_shown_each_time_whatever_their_order() -> None:
    rows = lag(3000).partitions
    turned = GroupLag(total=1, age=1.0, partitions=rows[::-1])

    one = Scene(snapshot(group(RUNNING, lag=lag(3000))))
    other = Scene(snapshot(group(RUNNING, lag=turned)))

    def places(scene: Scene) -> list[Sample]:
        return [sample for sample in samples(scene) if sample.metric == "partition_lag_records"]

    assert places(one) == places(other)


def test_a_group_is_ready_while_one_worker_progresses() -> None:
    (one,) = readiness(snapshot(group(RUNNING, DEAD)))

    assert one.is_ready


def test_a_group_without_a_worker_that_progresses_is_not_ready_and_says_why() -> None:
    idle = replace(RUNNING, healthy=False)
    joining = replace(RUNNING, slot=2, joined=False)

    (one,) = readiness(snapshot(group(idle, DEAD, joining)))

    assert not one.is_ready
    assert one.text == (
        "no worker progresses: orders/0 stands still; orders/1 backoff (SIGSEGV); orders/2 joins the group"
    )


def test_a_group_that_operators_stopped_or_paused_is_ready() -> None:
    stopped = SlotSnapshot("orders", 0, SlotState.STOPPED)

    (one,) = readiness(snapshot(group(stopped)))
    (other,) = readiness(snapshot(replace(group(RUNNING), paused=True)))

    assert one.is_ready
    assert other.is_ready
    assert (one.text, other.text) == ("stopped by an operator", "paused by an operator")


def test_a_group_is_judged_by_the_slots_that_are_not_paused() -> None:
    paused, stuck = replace(RUNNING, slot=2, paused=True), replace(RUNNING, healthy=False)

    (works,) = readiness(snapshot(group(RUNNING, paused)))
    (stands,) = readiness(snapshot(group(stuck, paused)))
    (rests,) = readiness(snapshot(group(replace(RUNNING, state=SlotState.STOPPED), paused)))

    assert (works.is_ready, works.text) == (True, "orders/2 paused by an operator")
    assert not stands.is_ready
    assert stands.text == "no worker progresses: orders/0 stands still; orders/2 is paused"
    assert (rests.is_ready, rests.text) == (True, "orders/2 paused by an operator")


def test_a_paused_slot_that_does_not_come_back_is_no_progress_where_nobody_else_is() -> None:
    (one,) = readiness(snapshot(replace(group(replace(DEAD, paused=True)), paused=True)))

    assert (one.is_ready, one.text) == (False, "no worker progresses: orders/1 backoff (SIGSEGV)")


def test_which_slots_are_paused_is_a_series_of_each() -> None:
    found = shown(Scene(snapshot(group(RUNNING, replace(RUNNING, slot=1, paused=True)))))

    assert [found["slot_paused", ("orders", slot)] for slot in ("0", "1")] == [False, True]
    assert found["group_paused", ("orders",)] == 0


def test_a_group_that_was_given_up_is_not_ready() -> None:
    fatal = SlotSnapshot("orders", 0, SlotState.FATAL, reason="exit code 78 (config)")

    (one,) = readiness(snapshot(group(fatal)))

    assert not one.is_ready
    assert "orders/0 fatal (exit code 78 (config))" in one.text
