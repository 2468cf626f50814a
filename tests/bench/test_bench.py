"""The benchmarks run and say what they promise; how fast anything is, no test asks."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import (
    exactly_once,
    failover,
    footprint,
    io,
    latency,
    memory,
    observability,
    retries,
    rolling,
    scaling,
    sides,
    takeover,
    throughput,
)
from bench.__main__ import BENCHMARKS
from bench.groups import newest
from bench.stage import ROOT, BenchError, Figures, Stage, report
from supervisor.config.models import Group
from tests.broker.real import RealBroker


@pytest.fixture
def small_stage(broker: RealBroker, tmp_path: Path) -> Stage:
    return Stage(broker.bootstrap, tmp_path, quick=True)


def test_without_a_name_every_benchmark_is_listed_with_a_line() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "bench"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(BENCHMARKS)
    assert all(len(line.split()) > 3 for line in listed.stdout.splitlines())


def test_an_unknown_benchmark_is_refused_with_the_names_there_are() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "bench", "speed"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert refused.returncode == 2
    assert all(name in refused.stderr for name in BENCHMARKS)


@pytest.mark.parametrize("only_json", [True, False])
def test_the_last_line_is_one_json_object(only_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    report("failover", {"median_s": 0.1, "runs": 3}, only_json=only_json)

    *before, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["median_s"] == 0.1
    assert json.loads(last)["machine"]["cores"] > 0
    assert bool(before) is not only_json


def test_a_ledger_tells_first_and_newest_records_and_what_moved_away(tmp_path: Path) -> None:
    (tmp_path / "1-1-77").write_text("record 0 5.0\n")
    (tmp_path / "1-2-88").write_text("assigned 7.9\nrecord 0 8.0\nrecord 3 8.1\nrecord 0 8.2\nrecord 3 9.9\n")

    found = newest(tmp_path, 1)

    assert (found.number, found.pid) == (2, 88)
    assert found.first == {0: 8.0, 3: 8.1}
    assert found.newest == {0: 8.2, 3: 9.9}
    assert found.owned == {3}
    assert newest(tmp_path, 2).number == 0


def test_each_benchmark_that_is_listed_has_a_module_to_run() -> None:
    for name in BENCHMARKS:
        assert callable(importlib.import_module(f"bench.{name}").run)


def test_throughput_measures_every_side_and_puts_ratios(small_stage: Stage) -> None:
    figures = throughput.measure(small_stage, total=20_000, rounds=1)

    assert {"raw_per_s", "ours_per_s"} <= figures.keys()
    assert _ratios(figures) == {"ratio", "ratio16", "key_ratio", "batch_ratio"}


def test_failover_kills_a_worker_whose_partitions_come_back_and_nobody_else_is_called(small_stage: Stage) -> None:
    figures = failover.measure(small_stage, cycles=1, slots=[1])

    assert {"median_s", "max_s", "others_disturbed", "runs", "raw_median_s", "exec_median_s"} <= figures.keys()
    assert figures["runs"] == 1
    assert figures["others_disturbed"] == 0
    assert isinstance(figures["max_s"], float)
    assert 0 < figures["max_s"] < 45, "the session ended first"


def test_rolling_restarts_every_slot_and_nobody_else_is_called(small_stage: Stage) -> None:
    figures = rolling.measure(small_stage, rounds=1, slots=3)

    assert {"max_gap_s", "median_gap_s", "others_disturbed", "roll_s", "restarts"} <= figures.keys()
    assert figures["restarts"] == 3
    assert figures["others_disturbed"] == 0
    assert isinstance(figures["max_gap_s"], float)
    assert 0 < figures["max_gap_s"] < 45, "a session ended first"


def test_footprint_weighs_forked_and_execd_workers_and_counts_what_restarts_leave(small_stage: Stage) -> None:
    figures = footprint.measure(small_stage, few=2, many=2, seconds=0.5, restarts=2)

    assert {"start64_s", "parent_cpu_percent", "zygote_pss_mb", "parent_pss_mb"} <= figures.keys()
    assert isinstance(figures["pss_mb"], float)
    assert isinstance(figures["exec_pss_mb"], float)
    assert 1 < figures["pss_mb"] < figures["exec_pss_mb"] < 100
    assert (figures["restarts"], figures["thread_growth"], figures["child_growth"]) == (2, 0, 0)


def test_observability_measures_both_sides_and_the_loop_under_scrapes(small_stage: Stage) -> None:
    figures = observability.measure(small_stage, total=20_000, rounds=1, scrapes=1)

    assert {"overhead_percent", "cpu_overhead_percent", "loop_delay_ms", "quiet_delay_ms"} <= figures.keys()
    assert isinstance(figures["series"], int)
    assert figures["series"] > 4 * 1000 + 20 * 64, "all partitions and workers are in it"
    assert isinstance(figures["page_kb"], int)
    assert figures["page_kb"] < 2000


def test_io_compares_threads_with_a_loop_by_hand_and_coroutines_with_a_bare_pool(small_stage: Stage) -> None:
    figures = io.measure(small_stage, total=60_000, rounds=1, seconds=0.2, warm=0.1)

    assert _ratios(figures) >= {"thread_ratio", "cpu_ratio"}
    assert ("async" in str(figures.get("missing"))) is not ("async512_pool_ratio" in figures)


def test_takeover_counts_what_came_over_the_network_once_lanes_were_full(small_stage: Stage) -> None:
    bounds = takeover.Bounds(threads=128, queue_records=300)
    figures = takeover.measure(small_stage, total=10_000, seconds=6.0, default=bounds, small=bounds)

    assert {"received_ratio", "total_ratio", "small_queue_ratio"} <= figures.keys()
    assert isinstance(figures["total_ratio"], float)
    assert figures["total_ratio"] >= 1.0, "records were used that never came"


def test_takeover_has_no_figures_when_nothing_was_held_back(tmp_path: Path) -> None:
    group = sides.group(Stage("127.0.0.1:1", tmp_path, quick=True), "orders")
    few = [takeover.Sample(at=float(at), used=100 * at, held=50, received=10**6) for at in range(5)]

    with pytest.raises(BenchError, match="at most 50 of 10000 held"):
        takeover.summary(few, group)


def test_latency_puts_percentiles_of_both_sides(small_stage: Stage) -> None:
    figures = latency.measure(small_stage, rounds=2, seconds=0.3, warm=0.1)

    assert _ratios(figures) == {"p50_ratio", "p99_ratio"}
    assert figures["records"] == 60


def test_retries_measures_with_failing_records_that_do_fail(small_stage: Stage) -> None:
    figures = retries.measure(small_stage, total=20_000, rounds=1, seconds=0.2, warm=0.1)

    assert _ratios(figures) == {"ratio", "noop_ratio"}


@pytest.mark.skipif("delivery" not in Group.model_fields, reason="there is no exactly-once to measure")
def test_exactly_once_counts_outputs_that_can_be_read(small_stage: Stage) -> None:
    figures = exactly_once.measure(small_stage, total=300_000, rounds=1, seconds=0.3, warm=0.1)

    assert _ratios(figures) == {"ratio"}


def test_memory_watches_a_worker_from_the_start_and_one_that_comes_to_a_backlog(small_stage: Stage) -> None:
    figures = memory.measure(small_stage, seconds=5.0, rate=2_500_000)

    assert figures["within_bound"] is True
    sizes = [figures[key] for key in ("rss_idle_mb", "rss_peak_mb", "backlog_peak_mb", "bound_mb")]
    assert all(isinstance(size, float) and size > 0 for size in sizes)


def test_scaling_draws_each_axis_from_its_smallest_to_its_largest_point(small_stage: Stage) -> None:
    size = scaling.Size(each=2_000, total=30_000, seconds=0.3, rounds=1)
    figures = scaling.measure(small_stage, size, workers=(1, 2), partitions=(2, 4), in_flight=(1, 20))

    growth, cost, memory_of = figures["worst_growth"], figures["cpu_us"], figures["rss_mb"]
    assert isinstance(growth, dict)
    assert isinstance(cost, dict)
    assert isinstance(memory_of, dict)
    assert growth.keys() >= {"workers", "partitions", "in_flight"}
    assert [*cost["in_flight"]] == [1, 20]
    assert all(point > 0 for curve in (*cost.values(), *memory_of.values()) for point in curve.values())


def _ratios(figures: Figures) -> set[str]:
    """Return the keys of the ratios, which must all be positive."""
    found = {key: value for key, value in figures.items() if "ratio" in key}
    assert all(isinstance(value, float) and value > 0 for value in found.values())
    return set(found)
