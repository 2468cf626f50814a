"""What a killed worker's slot does not spend its time on. The figures are ``python -m bench failover``'s."""

import json
import os
import subprocess
import sys

from bench.stage import ROOT
from supervisor.plugin import loader

# What `failover` runs: a handler by module:attribute and the sink that is the default.
WAY_BACK = """
import json, sys
import supervisor.worker.__main__
from supervisor.core.spec import PluginSpec, PluginsSpec
from supervisor.plugin.loader import load
load(PluginsSpec((PluginSpec("dlq_kafka"),)), "bench.handlers:process", group="g", sinks=("dlq_kafka",))
print(json.dumps(sorted(sys.modules)))
"""


def test_a_worker_with_our_own_plugins_neither_searches_distributions_nor_loads_an_admin_client() -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", WAY_BACK],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    imported = set(json.loads(ended.stdout))
    assert "supervisor_plugins.dlq_kafka" in imported
    assert imported & {"importlib.metadata", "confluent_kafka.admin", "difflib", "email"} == set()


def test_what_the_loader_knows_of_our_plugins_is_what_is_installed() -> None:
    ours = {
        name: point.value for name, point in loader.installed().items() if point.value.startswith("supervisor_plugins")
    }

    assert ours == loader._OURS
