"""A real Prometheus scrapes a real supervisor; a real Alertmanager delivers what it sees."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.real import RealBroker, free_ports
from tests.broker.records import create_topic, produce
from tests.metrics.prometheus import ROOT, Prometheus, watching
from tests.waiting import wait_until
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger

DASHBOARD = ROOT / "deploy" / "grafana" / "kafka-supervisor.json"
WARNINGS = "Warnings and worse by name"
EMPTY = {"Commit failures by code", WARNINGS}
"""Panels that show nothing as long as all is well."""
FAILING, ABSENT = "KafkaSupervisorWorkerFailing", "KafkaSupervisorAbsent"


def queries(group: str) -> Iterator[tuple[str, str]]:
    """Yield each query of the dashboard as Grafana would ask it of this group, with its panel's title."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$instance", ".*").replace("$group", group)
            yield panel["title"], expression.replace("$__rate_interval", "30s")


def empty_panels(prometheus: Prometheus, group: str) -> list[str]:
    """Return the panels of which a query finds nothing, though it should."""
    return [title for title, query in queries(group) if title not in EMPTY and not prometheus.query(query)]


@pytest.mark.timeout(240)
def test_p7_a_killed_worker_is_an_alert_that_fires_is_delivered_and_resolves(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    create_topic(broker.bootstrap, name, partitions=4)
    listen = f'\n[http]\nlisten = "127.0.0.1:{port}"'
    program = supervise(broker, "workers = 2", more=listen)
    produce(broker.bootstrap, name, ["good"] * 40)
    program.wait(lambda: len(ledger.lines("done")) >= 40, what="all is worked")
    with watching(tmp_path / "prometheus", f"127.0.0.1:{port}") as (prometheus, receiver):
        settled = "sum(kafka_supervisor_records_settled_total)"
        wait_until(lambda: prometheus.value(settled) == 40, 60, otherwise="it does not count", every=0.2)
        ready = f'kafka_supervisor_group_ready{{group="{name}"}}'
        wait_until(lambda: prometheus.value(ready) == 1, 30, otherwise="it is not ready", every=0.2)
        wait_until(
            lambda: prometheus.value(f'sum(kafka_supervisor_partition_lag_records{{group="{name}"}})') == 0,
            60,
            otherwise="no lag is read",
            every=0.2,
        )
        wait_until(lambda: not empty_panels(prometheus, name), 60, otherwise=None, every=0.5)
        assert empty_panels(prometheus, name) == []
        victim = program.slot(0)
        assert victim.pid is not None

        os.kill(victim.pid, signal.SIGKILL)

        told = next(query for title, query in queries(name) if title == WARNINGS)
        wait_until(
            lambda: [one for one in prometheus.query(told) if one["name"] == "worker.exited" and one["value"] >= 1],
            60,
            otherwise="the first death is not on the dashboard",
            every=0.2,
        )
        (alert,) = wait_until(
            lambda: receiver.delivered(FAILING, "firing"), 60, otherwise="nothing is delivered", every=0.2
        )
        assert alert["labels"] | {"group": name, "class": "signal", "severity": "warning"} == alert["labels"]
        assert alert["annotations"]["runbook"] == f"supervisor runbook {FAILING}"
        wait_until(lambda: receiver.delivered(FAILING, "resolved"), 90, otherwise="it never resolves", every=0.2)
        assert prometheus.value('sum(kafka_supervisor_worker_exits_total{class="signal"})') == 1
        produce(broker.bootstrap, name, ["good"] * 8)
        wait_until(lambda: prometheus.value(settled) == 48, 60, otherwise="counters do not go on", every=0.2)
        assert len(prometheus.query("kafka_supervisor_worker_resident_memory_bytes")) == 2, "no ghost"
        assert not receiver.delivered(ABSENT, "firing")

        assert program.terminate() == 0

        wait_until(lambda: receiver.delivered(ABSENT, "firing"), 60, otherwise="nobody misses it", every=0.2)
