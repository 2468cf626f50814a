"""Clients that only ask: their own lines never go to stderr past the log, whatever the user's settings say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = '{"bootstrap.servers": "127.0.0.1:1", "debug": "broker", "log_level": 7}'
GROUP = f'group_spec("127.0.0.1:1", "orders", ("orders",), "x:y", kafka={NOBODY})'
ASKING = {
    "topic ids": f'identity.topic_ids({NOBODY}, ["orders"], "c", 0.5)',
    "another member": f'fencing.other_member({NOBODY}, "orders", "c")',
    "ends": f"ends.GroupOffsets({GROUP}).goals()",
    "holes": f'holes.Holes({NOBODY}, "orders", ["orders"]).find()',
    "lag": f"lag.GroupReader({GROUP})._consumer.list_topics(timeout=0.5)",
    "letters": f"letters.topics_there({NOBODY})",
    "letters to drop": f'letters.KafkaLetters({GROUP}, ["orders.dlq"], replay="").truncate({{"orders.dlq/0": 1}})',
    "offsets": f"resets.Offsets({GROUP})._consumer.list_topics(timeout=0.5)",
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_a_client_that_asks_writes_nothing_past_the_log(ask: str) -> None:
    modules = "ends, fencing, holes, identity, lag, letters, patience, resets"
    code = f"""
from confluent_kafka import KafkaException
from supervisor.kafka import {modules}
from supervisor.kafka.offsets import AskError
from tests.worker.direct import group_spec
for module in ({modules}):
    module.TIMEOUT = 0.5
letters.PATIENCE = 0.0
patience.patiently.__kwdefaults__["patience"] = 0.0
try:
    {ask}
except (AskError, KafkaException):
    pass
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=True
    )

    told = [line for line in done.stderr.splitlines() if not line.startswith(("topics.", "fencing."))]
    assert told == []
