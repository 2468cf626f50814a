"""What ``deploy/`` has for Prometheus and Grafana, against their tools, the catalogue and the runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.metrics_catalog import CATALOG, PREFIX, series_names
from tests.metrics.prometheus import ROOT, RULES, hastened, program

STORIES = Path(__file__).parent / "rules_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "kafka-supervisor.json"
RUNBOOK = ROOT / "docs" / "runbook.md"
NAME = re.compile(rf"\b(?:{PREFIX}|process_)[a-z_]+\b")


def alerts() -> list[str]:
    return re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


def expressions(tree: Any) -> list[str]:
    """Return every query of the dashboard, those of its variables included."""
    if isinstance(tree, list):
        return [found for one in tree for found in expressions(one)]
    if not isinstance(tree, dict):
        return []
    own = [value for key, value in tree.items() if key in ("expr", "query", "definition") and isinstance(value, str)]
    return own + [found for value in tree.values() for found in expressions(value)]


def labels_used(expression: str) -> list[tuple[str, str]]:
    """Return the labels that are matched in an expression, each with the metric it is matched of."""
    return [
        (name, label)
        for name, matchers in re.findall(r"([a-z_]+)\{([^}]*)\}", expression)
        for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers)
    ]


def family(series: str) -> str:
    return next(name for name, metric in CATALOG.items() if series in metric.series)


def test_the_rules_are_right_by_prometheus_own_tool() -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, timeout=60, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(alerts()) + 1} rules found" in checked.stdout + checked.stderr


def test_each_alert_fires_in_its_story_and_not_before() -> None:
    told = subprocess.run(
        [program("promtool"), "test", "rules", STORIES.name],
        cwd=STORIES.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("alert", alerts())
def test_each_alert_has_a_story_and_a_section_of_the_runbook(alert: str) -> None:
    stories = STORIES.read_text()

    assert f"alertname: {alert}" in stories
    assert f"runbook: supervisor runbook {alert}\n" in RULES.read_text()
    assert re.search(rf"^## {alert}$", RUNBOOK.read_text(), re.MULTILINE)


def test_the_docs_command_makes_links_of_the_runbooks_names(tmp_path: Path) -> None:
    (command,) = re.findall(r"^sed .*$", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    rules = tmp_path / RULES.name
    rules.write_text(RULES.read_text())

    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, check=True, timeout=30)

    links = re.findall(r"^ +runbook_url: https://wiki.example.org/runbook#(\w+)$", rules.read_text(), re.MULTILINE)
    assert links == [alert.lower() for alert in alerts()], "as headings are linked to"


def test_the_runbook_has_no_section_of_an_alert_that_is_not_there() -> None:
    sections = re.findall(r"^## (KafkaSupervisor\w+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert sorted(sections) == sorted(alerts())


def test_rules_speak_only_of_metrics_of_the_catalogue() -> None:
    used = set(NAME.findall(RULES.read_text()))

    assert used - series_names() == set()
    assert len(used) > 8


def test_the_dashboard_speaks_only_of_metrics_and_labels_of_the_catalogue() -> None:
    found = expressions(json.loads(DASHBOARD.read_text()))
    used = {name for expression in found for name in NAME.findall(expression)}

    assert used - series_names() == set()
    assert len(used) > 25
    for expression in found:
        for series, label in labels_used(expression):
            if series.startswith(PREFIX):
                assert label in (*CATALOG[family(series)].labels, "instance", "job"), expression


FIRST_SEEN = """
rule_files: [panels.yml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: kafka_supervisor_events_total{instance="i", name="worker.fenced", severity="critical"}
        values: "_x8 1x40"
      - series: kafka_supervisor_records_dead_lettered_total{instance="i", group="g", slot="0", disposition="timeout"}
        values: "_x8 2x4 3x40"
    promql_expr_test:
      - expr: panel:34
        eval_time: 2m15s
        exp_samples: [{labels: 'panel:34{name="worker.fenced", severity="critical"}', value: 1}]
      - expr: panel:34
        eval_time: 8m
        exp_samples: [{labels: 'panel:34{name="worker.fenced", severity="critical"}', value: 0}]
      - expr: panel:7
        eval_time: 9m
        exp_samples: [{labels: 'panel:7', value: 3}]
"""


def test_what_is_first_seen_as_one_shows_in_the_dashboard_and_once(tmp_path: Path) -> None:
    panels = {panel["id"]: panel for panel in json.loads(DASHBOARD.read_text())["panels"]}
    assert (panels[34]["title"], panels[7]["title"]) == ("Warnings and worse by name", "Dead letters in the last hour")
    queries = {number: panels[number]["targets"][0]["expr"] for number in (34, 7)}
    for variable, value in (("$__rate_interval", "1m"), ("$instance", ".*"), ("$group", ".*")):
        queries = {number: query.replace(variable, value) for number, query in queries.items()}
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in queries.items()]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    (tmp_path / "story.yml").write_text(FIRST_SEEN)

    told = subprocess.run(
        [program("promtool"), "test", "rules", "story.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr


def test_panels_of_the_dashboard_have_places_and_numbers_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        place = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not place & taken, panel["title"]
        taken |= place


def test_hastened_rules_have_seconds_for_minutes_and_nothing_else_changed() -> None:
    text = "expr: rate(x_5m[5m]) > 1\n        for: 2m\n"

    assert hastened(text) == "expr: rate(x_5m[20s]) > 1\n        for: 8s\n"
