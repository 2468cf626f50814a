"""docs/metrics.md against the catalogue, and the catalogue against the conventions of its field."""

import re
from pathlib import Path

import pytest

from supervisor.config.reference import filled_in
from supervisor.core.exposition import MOST_PARTITIONS, MOST_TOPICS
from supervisor.core.metrics_catalog import CATALOG, PREFIX, PROCESS, Kind, Metric
from supervisor.core.totals import MOST_NAMES
from supervisor.parent.metrics.listener import DEADLINE, LIFE, MOST_CONNECTIONS, MOST_REQUESTS
from supervisor.parent.slots.tallies import MOST_EVENTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "metrics.md"
BASE_UNITS = ("seconds", "bytes", "ratio", "records")


def test_the_table_of_the_docs_is_that_of_the_catalogue() -> None:
    page = PAGE.read_text()

    assert page == filled_in(page), (
        "docs/metrics.md is out of date; make it anew with: python -c 'from pathlib import Path;"
        " from supervisor.config.reference import filled_in;"
        ' p = Path("docs/metrics.md"); p.write_text(filled_in(p.read_text()))\''
    )
    assert page.count("| `") >= len(CATALOG)


def test_the_bounds_of_the_docs_are_those_of_the_code() -> None:
    page = " ".join(PAGE.read_text().split())

    assert f"up to {MOST_PARTITIONS:,}, topics up to {MOST_TOPICS}" in page
    assert f"({MOST_EVENTS} at most)" in page
    assert f"({MOST_NAMES} of each at most)" in page
    assert f"{MOST_CONNECTIONS} connections, {MOST_REQUESTS} requests at once" in page
    assert (DEADLINE, LIFE) == (10, 60), "ten seconds per answer, a minute per connection"


def test_the_docs_name_the_metrics_of_the_process() -> None:
    page = PAGE.read_text()

    assert [name for name in PROCESS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("metric", CATALOG.values(), ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    assert metric.family == PREFIX + metric.name
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", metric.name)
    assert not metric.name.endswith(("_total", "_info", "_count", "_sum", "_bucket")), "its type adds that"
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)
    assert metric.help.endswith(".")
    last = metric.name.rpartition("_")[2]
    assert metric.unit in ("", last), "the unit is the last word"
    assert metric.unit in ("", *BASE_UNITS)
    assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.bounds) == sorted(metric.bounds)
