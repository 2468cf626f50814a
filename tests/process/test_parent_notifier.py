"""The parent's side of the notifier: what it counts of alerts, and a child that says nothing any more."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.child_specs import NotifierSpec
from supervisor.core.events import Event, Severity
from supervisor.core.spec import PluginsSpec
from supervisor.parent.alerts import notifier as module
from supervisor.parent.alerts.alerts import Alerts
from supervisor.parent.alerts.deliveries import Deliveries
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.store.eventlog import EventLog

FAKE = Path(__file__).parent / "fake_notifier.py"
SPEC = NotifierSpec("web-1", PluginsSpec(), os.getpid(), log_format="text", log_level="info")


class Told:
    def __init__(self, alerts: Alerts, events: EventLog) -> None:
        self.alerts = alerts
        self.events = events

    def offer(self, name: str) -> None:
        self.alerts.offer(Event(name, Severity.WARNING, 0.0))

    @property
    def pid(self) -> int:
        notifier = self.alerts._notifier
        return notifier.child.pid if notifier is not None and notifier.child is not None else 0

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self.alerts.pump()
                await asyncio.sleep(0.01)


@asynccontextmanager
async def told(folder: Path) -> AsyncIterator[Told]:
    events = EventLog()
    program = (sys.executable, "-P", str(FAKE), "--log", str(folder / "alerts"), "--die-of", "deadly")
    alerts = Alerts(program, exits=ExitWatch(), events=events)
    alerts.start(SPEC)
    try:
        yield Told(alerts, events)
    finally:
        await alerts.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STARTS", Backoff(0.01, 1.0, 0.01, 0.0))


def test_deliveries_go_on_over_the_notifiers_death_and_a_reload(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with told(tmp_path) as one:
            deliveries = one.alerts.deliveries
            one.offer("a")
            one.offer("deadly")
            await one.until(lambda: deliveries.counts.get(("fake", "delivered")) == 2)
            await one.until(lambda: one.events.since(0).entries)
            assert deliveries.queued == {}, "whoever had them is dead"

            one.offer("b")
            await one.until(lambda: deliveries.counts.get(("fake", "delivered")) == 3)
            assert deliveries.queued == {"fake": 3}

            await one.alerts.replace(SPEC)
            one.offer("c")
            await one.until(lambda: deliveries.counts.get(("fake", "delivered")) == 4)

            await one.alerts.replace(None)
            assert (deliveries.counts, deliveries.queued) == ({}, {})

    asyncio.run(scenario())


def test_a_notifier_that_stands_still_is_replaced_and_people_are_told_what_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with told(tmp_path) as one:
            one.offer("a")
            await one.until(lambda: one.alerts.deliveries.counts)
            first = one.pid
            os.kill(first, signal.SIGSTOP)
            monkeypatch.setattr(module, "SILENT", 0.3)
            await one.until(lambda: one.pid != first)
            monkeypatch.setattr(module, "SILENT", 120.0)

            one.offer("b")
            await one.until(lambda: (tmp_path / "alerts").read_text() == "a\nb\n")
            assert [entry.event.name for entry in one.events.since(0).entries] == ["notifier.exited"]

    asyncio.run(scenario())


@pytest.mark.parametrize("stats", [None, [], {"a": None}, {"a": {}}, {"a": {"delivered": "x"}}])
def test_what_are_no_counts_is_refused_and_changes_nothing(stats: object) -> None:
    deliveries = Deliveries()

    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        deliveries.told(stats)  # type: ignore[arg-type]

    assert (deliveries.counts, deliveries.queued) == ({}, {})
