"""A real Prometheus, a real Alertmanager and a receiver of webhooks, for tests: our rules, with seconds for minutes."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest

from tests.broker.real import free_ports
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "kafka-supervisor.rules.yml"
MINUTE = 4
"""Seconds that stand for one minute of the rules."""
_PROMETHEUS = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: [{rules}]
scrape_configs:
  - job_name: kafka-supervisor
    static_configs: [{{targets: ["{target}"]}}]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]
"""
_ALERTMANAGER = """
route:
  receiver: test
  group_by: [alertname, group]
  group_wait: 1s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: test
    webhook_configs: [{{url: "http://127.0.0.1:{receiver}/", send_resolved: true}}]
"""


def program(*names: str) -> str:
    """Return the path of an installed program; skip the test without one, fail in CI."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(f"CI as root must have {names[0]}", pytrace=False)
    pytest.skip(f"no {names[0]} here: tests/metrics/fetch says how to get it")


class Receiver:
    """Takes what an Alertmanager delivers."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        taken = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                taken.extend(body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def delivered(self, name: str, status: str) -> list[dict[str, Any]]:
        """Return the alerts of a name that were delivered as ``firing`` or ``resolved``."""
        return [one for one in self.alerts if one["labels"]["alertname"] == name and one["status"] == status]


class Prometheus:
    """Asks a running one."""

    def __init__(self, port: int) -> None:
        self._port = port

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query: their labels, and their values as numbers."""
        try:
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=5)) as connection:
                connection.request("GET", f"/api/v1/query?query={quote(expression)}")
                response = connection.getresponse()
                if response.status == HTTPStatus.SERVICE_UNAVAILABLE:  # it still begins
                    return []
                found = json.load(response)["data"]["result"]
        except OSError:
            return []
        return [{**one["metric"], "value": float(one["value"][1])} for one in found]

    def value(self, expression: str) -> float | None:
        """Return the value of the one series that is found, ``None`` without any."""
        found = self.query(expression)
        assert len(found) < 2, found
        return found[0]["value"] if found else None


def hastened(rules: str) -> str:
    """Return the rules with their minutes as so many seconds, and nothing else changed."""
    return re.sub(r"(?<=\[)(\d+)m(?=\])|(?<=for: )(\d+)m$", _seconds, rules, flags=re.MULTILINE)


def _seconds(found: "re.Match[str]") -> str:
    return f"{MINUTE * int(found[1] or found[2])}s"


@contextmanager
def watching(folder: Path, target: str) -> Iterator[tuple[Prometheus, Receiver]]:
    """Run both on the rules of ``deploy/``; they scrape ``target`` and deliver to the receiver."""
    programs = program("prometheus"), program("prometheus-alertmanager", "alertmanager")
    port, manager_port = free_ports(2)
    folder.mkdir()
    rules = folder / "rules.yml"
    rules.write_text(hastened(RULES.read_text()))
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        config = folder / "prometheus.yml"
        config.write_text(_PROMETHEUS.format(rules=rules, target=target, alertmanager=manager_port))
        (folder / "alertmanager.yml").write_text(_ALERTMANAGER.format(receiver=receiver.port))
        manager = (
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{manager_port}",
            "--cluster.listen-address=",
        )
        prometheus = (
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        log = folder / "log"
        stack.enter_context(_running((programs[1], *manager), log))
        stack.enter_context(_running((programs[0], *prometheus), log))
        asked = Prometheus(port)
        wait_until(lambda: asked.query("vector(1)"), 60, otherwise="Prometheus does not answer", every=0.2)
        yield asked, receiver


@contextmanager
def _running(command: tuple[str, ...], log: Path) -> Iterator[None]:
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=log.parent)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
