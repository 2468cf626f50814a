"""The example plugins do what they say."""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.core.spec import PluginSpec, PluginsSpec
from supervisor.plugin import DeadLetter, Letter, Retry, WorkerContext
from supervisor.plugin.active import Active
from supervisor.plugin.loader import load
from tests.plugins.conftest import a_failure

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"


@pytest.fixture
def active(monkeypatch: pytest.MonkeyPatch) -> Iterator[Active]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    targets = ("patient_policy", "sqlite_dead_letters:Sink")
    specs = tuple(PluginSpec(target) for target in targets)
    yield load(PluginsSpec(specs, (str(EXAMPLES),)), "builtins:print", group="orders", sinks=targets[1:])
    for target in targets:
        sys.modules.pop(target.split(":")[0], None)


def test_the_policy_is_patient_with_services_and_not_with_nonsense(active: Active) -> None:
    (policy,) = active.retry_decision

    assert policy(a_failure(ConnectionRefusedError(), 3)) == Retry(8.0)
    assert policy(a_failure(TimeoutError(), 30)) == Retry(60.0)
    assert policy(a_failure(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"))) == DeadLetter("not text")
    assert policy(a_failure(KeyError())) is None


def test_the_sink_keeps_a_letter_once_however_often_it_comes(
    active: Active, context: WorkerContext, letter: Letter
) -> None:
    active.worker_started(context)

    active.sink("sqlite_dead_letters:Sink")(letter)
    active.sink("sqlite_dead_letters:Sink")(letter)
    active.worker_stopping()

    database = sqlite3.connect(Path(context.state_dir) / "orders-3-letters.sqlite")
    rows = database.execute("select audit_id, value, disposition from letters").fetchall()
    database.close()
    assert rows == [("orders/orders/1/812", b"\x00\xff", "error")]
