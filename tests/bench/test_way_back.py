"""What a killed worker's slot does not spend its time on. The figures are ``python -m bench failover``'s."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.stage import ROOT
from supervisor.plugin import loader

# What `failover` runs: a handler by module:attribute and the sink that is the default.
WAY_BACK = """
import json, sys
import supervisor.worker.__main__, supervisor.worker.life
from supervisor.core.spec import PluginSpec, PluginsSpec
from supervisor.plugin.loader import load
load(PluginsSpec((PluginSpec("dlq_kafka"),)), "bench.handlers:process", group="g", sinks=("dlq_kafka",))
print(json.dumps(sorted(sys.modules)))
"""
PARENTS = {
    *("supervisor.cli", "supervisor.config", "supervisor.control", "supervisor.parent"),
    *("supervisor.core.accusations", "supervisor.core.breaker", "supervisor.core.child_specs"),
    *("supervisor.core.docket", "supervisor.core.event_query", "supervisor.core.flood", "supervisor.core.lag"),
    *("supervisor.core.slot", "supervisor.core.snapshot"),
    *("aiohttp", "click", "prometheus_client", "psutil", "pydantic", "rich", "sqlite3", "tomli"),
}
LATER = {
    *("confluent_kafka.admin", "supervisor.kafka.holes", "supervisor.kafka.members"),
    *("supervisor.worker.tasks", "supervisor.worker.transactions"),
    *("argparse", "difflib", "email", "gettext", "hashlib", "importlib.metadata", "pkgutil", "shutil", "tempfile"),
}
"""What some workers need, or all of them once they are back at work."""


FORKED_FROM = """
import json, sys
import supervisor.zygote.__main__
print(json.dumps(sorted(sys.modules)))
"""
NOT_COLLECTED = """
import gc, json, socket, sys
from supervisor.worker.__main__ import main
collected = []
gc.callbacks.append(lambda phase, info: collected.append(phase))
ours, theirs = socket.socketpair()
ours.close()
sys.argv[1:] = ["--fd", str(theirs.detach()), "--slot-file", sys.argv[1]]
main()
print(json.dumps([collected.count("start"), gc.get_freeze_count(), gc.isenabled()]))
"""
"""A worker whose parent is gone before it said anything."""


def _python(program: str, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stdout


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return set(json.loads(_python(WAY_BACK)))


def test_a_new_worker_imports_what_it_works_with(imported: set[str]) -> None:
    assert {"supervisor.worker.engine", "supervisor_plugins.dlq_kafka"} <= imported


def test_a_new_worker_imports_nothing_of_the_parents(imported: set[str]) -> None:
    assert imported & PARENTS == set()


def test_a_new_worker_imports_nothing_that_can_wait_until_it_is_back_at_work(imported: set[str]) -> None:
    assert imported & LATER == set()


def test_what_workers_are_forked_from_carries_no_more_than_they_import_themselves() -> None:
    assert set(json.loads(_python(FORKED_FROM))) & (PARENTS | LATER) == set()


def test_a_new_worker_does_not_look_for_garbage_in_what_it_imports_and_does_from_then_on(
    tmp_path: Path,
) -> None:
    collections, kept, is_on = json.loads(_python(NOT_COLLECTED, str(tmp_path / "g-0.slot")))

    assert collections < 5  # a hundred else
    assert kept > 10_000
    assert is_on


def test_what_the_loader_knows_of_our_plugins_is_what_is_installed() -> None:
    ours = {
        name: point.value for name, point in loader.installed().items() if point.value.startswith("supervisor_plugins")
    }

    assert ours == loader._OURS
