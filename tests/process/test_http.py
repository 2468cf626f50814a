"""``/metrics``, ``/healthz`` and ``/readyz`` of a real parent process, asked as a scraper asks."""

import contextlib
import gzip
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from supervisor.core.metrics_catalog import CATALOG, PREFIX, PROCESS
from supervisor.core.snapshot import SlotState
from supervisor.parent.metrics.listener import MOST_CONNECTIONS
from tests.broker.real import free_ports
from tests.process.parents import Parent, all_run
from tests.waiting import wait_until

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def port() -> int:
    (free,) = free_ports(1)
    return free


def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_answered(port: int) -> bool:
    with contextlib.suppress(OSError, HTTPException):
        return ask(port, "/healthz")[0] == 200
    return False


def values(port: int) -> dict[str, float]:
    """Return each series' value by its name and labels as they are written."""
    status, _, body = ask(port, "/metrics")
    assert status == 200
    lines = [line for line in body.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def scraped(tmp_path: Path, port: int) -> Iterator[Parent]:
    with Parent(tmp_path, {"orders": 2}, http=port) as parent:
        parent.snapshot_when(all_run)
        wait_until(lambda: listening(port), otherwise="nobody listens")
        yield parent


def test_metrics_are_those_of_the_catalogue_in_both_formats(scraped: Parent, port: int) -> None:
    del scraped
    _, plain_headers, text = ask(port, "/metrics")
    _, open_headers, other = ask(port, "/metrics", Accept=OPENMETRICS)

    assert plain_headers["content-type"].startswith("text/plain; version=0.0.4")
    assert open_headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert other.endswith(b"# EOF\n")
    families = openmetrics(other.decode())  # type: ignore[no-untyped-call]
    found = {family.name: family for family in families}
    ours = {name: metric for name, metric in ((m.family, m) for m in CATALOG.values()) if name in found}
    assert len(ours) > 30, sorted(ours)
    for name, family in found.items():
        if not name.startswith(PREFIX):
            assert name in PROCESS or f"{name}_total" in PROCESS
            continue
        metric = ours[name]
        assert (family.type, family.documentation, family.unit) == (metric.kind.value, metric.help, metric.unit)
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == set(metric.labels)
    assert len(list(plain(text.decode()))) == len(found)


def test_a_page_is_compressed_for_who_takes_that(scraped: Parent, port: int) -> None:
    del scraped
    _, headers, body = ask(port, "/metrics", Accept_Encoding="gzip")

    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body).startswith(b"# HELP kafka_supervisor_build_info")


def test_counters_go_on_over_a_workers_death_and_its_gauges_end_with_it(scraped: Parent, port: int) -> None:
    settled = 'kafka_supervisor_records_settled_total{group="orders",slot="0"}'
    queued = 'kafka_supervisor_records_queued{group="orders",slot="0"}'
    before = wait_until(lambda: found if (found := values(port)).get(settled, 0) > 20 else None)
    assert before is not None
    assert queued in before
    scraped.behave("exit 78", "orders-0")
    victim = scraped.slot_when(SlotState.RUNNING, slot=0)
    assert victim.pid is not None

    os.kill(victim.pid, signal.SIGKILL)
    dead = wait_until(lambda: found if queued not in (found := values(port)) else None, otherwise="a ghost")

    assert dead is not None
    assert dead[settled] >= before[settled]
    exits = 'kafka_supervisor_worker_exits_total{class="signal",group="orders"}'
    assert dead[exits] == 1
    assert not [name for name in dead if 'slot="0"' in name and "worker_resident" in name]
    scraped.behave("work", "orders-0")
    scraped.client.start("orders/0")
    again = wait_until(lambda: found if (found := values(port))[settled] > dead[settled] + 10 else None, 15)
    assert again is not None


def test_a_page_is_kept_for_a_moment(scraped: Parent, port: int) -> None:
    del scraped
    first = wait_until(lambda: page if (page := ask(port, "/metrics")[2]) == ask(port, "/metrics")[2] else b"")

    assert first
    wait_until(lambda: ask(port, "/metrics")[2] != first, otherwise="it is kept for ever")


def test_ready_says_which_group_does_not_progress(tmp_path: Path, port: int) -> None:
    parent = Parent(tmp_path, {"orders": 1, "bills": 1}, http=port)
    parent.behave("slow 600", "bills-0")
    with parent:
        wait_until(lambda: listening(port), otherwise="nobody listens")
        parent.slot_when(SlotState.RUNNING)

        status, _, body = ask(port, "/readyz")

        assert status == 503
        answer = json.loads(body)
        assert answer["ready"] is False
        groups = {group["name"]: group for group in answer["groups"]}
        assert groups["orders"] == {"name": "orders", "is_ready": True, "text": ""}
        assert groups["bills"]["text"] == "no worker progresses: bills/0 starting"
        assert ask(port, "/healthz")[0] == 200, "the process itself is well"


def test_ready_and_healthy_when_every_group_works(scraped: Parent, port: int) -> None:
    del scraped
    wait_until(lambda: ask(port, "/readyz")[0] == 200, otherwise="not ready")

    assert json.loads(ask(port, "/healthz")[2]) == {"healthy": True, "text": ""}


def test_p5_a_port_in_use_is_told_once_and_taken_when_it_is_free(tmp_path: Path, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with Parent(tmp_path, http=port) as parent:
            parent.slot_when(SlotState.RUNNING)
            (event,) = wait_until(lambda: parent.events("http.unavailable"))
            assert event.text.startswith(f"nobody can listen at 127.0.0.1:{port}: ")
            assert "in use" in event.text
            other.close()

            wait_until(lambda: parent.events("http.listening"), 30, otherwise="it does not try again")

            assert len(parent.events("http.unavailable")) == 1
            assert ask(port, "/healthz")[0] == 200


def test_a_reload_moves_the_listener_and_takes_it_away(scraped: Parent, port: int) -> None:
    (other,) = free_ports(1)
    next_ = scraped.folder / "next"
    next_.write_text(json.dumps({"http": other}))
    scraped.signal(signal.SIGHUP)
    wait_until(lambda: listening(other) and not listening(port), otherwise="it does not move")

    next_.write_text(json.dumps({"http": None}))
    scraped.signal(signal.SIGHUP)

    wait_until(lambda: not listening(other), otherwise="it goes on listening")
    assert [event.text for event in scraped.events("reload.done")][-1].startswith("supervisor: applied")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405), ("GET", "/" + "x" * 5000, 400)]
)
def test_anything_else_is_refused(scraped: Parent, port: int, method: str, path: str, status: int) -> None:
    assert ask(port, path, method)[0] == status
    assert scraped.slot_when(SlotState.RUNNING).state is SlotState.RUNNING


def test_p6_connections_are_bounded_and_who_was_there_is_still_answered(scraped: Parent, port: int) -> None:
    with ExitStack() as stack:
        early = stack.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=10)))
        early.connect()
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(MOST_CONNECTIONS)]

        def refused() -> list[socket.socket]:
            readable, _, _ = select.select(crowd, [], [], 0)
            return [one for one in readable if one.recv(1, socket.MSG_PEEK) == b""]

        wait_until(refused, otherwise="nobody is refused")
        early.request("GET", "/healthz")
        assert early.getresponse().status == 200
        assert scraped.slot_when(SlotState.RUNNING).state is SlotState.RUNNING
    wait_until(lambda: is_answered(port), otherwise="it never takes another")


def test_the_listener_ends_with_the_supervisor(scraped: Parent, port: int) -> None:
    scraped.signal(signal.SIGTERM)

    assert scraped.exit_code() == 0
    assert not listening(port)


def test_p10_no_metric_name_or_label_is_outside_the_plain_words(scraped: Parent, port: int) -> None:
    del scraped
    for name in values(port):
        assert re.fullmatch(r"[a-z_]+(\{([a-z]+=\"[A-Za-z0-9_.+:-]*\",?)+\})?", name), name


def test_without_a_listener_nothing_of_it_is_imported() -> None:
    program = "import sys, supervisor.parent.app; print([name for name in sys.modules if 'prometheus' in name])"

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert printed.stdout.strip() == "[]"
