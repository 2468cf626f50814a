"""The benchmarks run and say what they promise; how fast anything is, no test asks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import failover, throughput
from bench.__main__ import BENCHMARKS
from bench.groups import newest
from bench.stage import ROOT, Stage, report
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
        [sys.executable, "-m", "bench", "latency"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
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


def test_throughput_measures_every_side_and_puts_ratios(small_stage: Stage) -> None:
    figures = throughput.measure(small_stage, total=20_000, rounds=1)

    assert {"raw_per_s", "ours_per_s", "ratio", "ratio16", "key_ratio", "batch_ratio"} <= figures.keys()
    assert all(isinstance(value, float) and value > 0 for key, value in figures.items() if "ratio" in key)


def test_failover_kills_a_worker_whose_partitions_come_back_and_nobody_else_is_called(small_stage: Stage) -> None:
    figures = failover.measure(small_stage, cycles=1, slots=[1])

    assert {"median_s", "max_s", "others_disturbed", "runs", "raw_median_s"} <= figures.keys()
    assert figures["runs"] == 1
    assert figures["others_disturbed"] == 0
    assert isinstance(figures["max_s"], float)
    assert 0 < figures["max_s"] < 45, "the session ended first"
