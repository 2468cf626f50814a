"""When the watchdog is fed, and when not: the parent's own loop, with a stand-in for its slots."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from supervisor.core.duty import PATIENCE
from supervisor.core.events import Event, Severity
from supervisor.core.slot import Slot
from supervisor.core.snapshot import SlotState, Snapshot
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.running.duty import Duty
from supervisor.parent.running.notify import ServiceManager
from supervisor.parent.supervisor import Supervisor
from tests.process.test_notify import Listener, listening


class Stage:
    """One supervisor of one slot that nobody runs."""

    def __init__(self, address: str) -> None:
        now = asyncio.get_running_loop().time()
        self.runner = SimpleNamespace(name="orders/0", slot=Slot(), looked_at=now)
        self.supervisor = SimpleNamespace(
            runners={("orders", 0): self.runner},
            stopping=False,
            snapshot=lambda: Snapshot("web-1", "1", 1, 0.0, 0.0, ()),
        )
        self.exits = SimpleNamespace(next_sweep=now)
        self.manager = ServiceManager(address, watchdog=1.0)
        self.duty = Duty(self.manager, cast("Supervisor", self.supervisor), cast("ExitWatch", self.exits))


def fed(tmp_path: Path, prepare: Callable[[Stage, float], None]) -> bool:
    """Tell whether a pulse feeds the watchdog after ``prepare``."""
    address = str(tmp_path / "notify")

    async def pulsed(listener: Listener) -> bool:
        stage = Stage(address)
        prepare(stage, asyncio.get_running_loop().time())
        stage.duty.pulse()
        stage.duty.pulse()
        stage.manager.close()
        return "WATCHDOG=1" in listener.lines()

    with listening(address) as listener:
        return asyncio.run(pulsed(listener))


LATE = PATIENCE + 5


def test_a_pulse_feeds_the_watchdog(tmp_path: Path) -> None:
    assert fed(tmp_path, lambda _stage, _now: None)


@pytest.mark.parametrize("state", [SlotState.FATAL, SlotState.BACKOFF, SlotState.DRAINING, SlotState.STOPPED])
def test_no_state_of_a_slot_withholds_it(tmp_path: Path, state: SlotState) -> None:
    def prepare(stage: Stage, now: float) -> None:
        stage.runner.slot = Slot(state=state, deadline=now + 3600)

    assert fed(tmp_path, prepare)


def test_a_deadline_that_was_not_acted_on_withholds_it_and_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def prepare(stage: Stage, now: float) -> None:
        stage.runner.slot = Slot(state=SlotState.BACKOFF, deadline=now - LATE)

    with caplog.at_level(logging.INFO):
        assert not fed(tmp_path, prepare)

    (record,) = caplog.records
    assert record.getMessage() == "parent.overdue"
    assert record.__dict__["fields"]["whom"] == "orders/0"


def test_a_slot_that_nobody_looked_at_withholds_it(tmp_path: Path) -> None:
    def prepare(stage: Stage, now: float) -> None:
        stage.runner.looked_at = now - LATE

    assert not fed(tmp_path, prepare)


def test_dead_children_that_nobody_looks_for_withhold_it(tmp_path: Path) -> None:
    def prepare(stage: Stage, now: float) -> None:
        stage.exits.next_sweep = now - LATE

    assert not fed(tmp_path, prepare)


@pytest.mark.parametrize("ending", ["reload.done", "reload.failed"])
def test_a_reload_is_over_however_it_went(tmp_path: Path, ending: str) -> None:
    address = str(tmp_path / "notify")

    async def heard(listener: Listener) -> list[str]:
        stage = Stage(address)
        for name, group in (("reload.started", ""), ("reload.failed", "orders"), (ending, "")):
            stage.duty.hear(Event(name, Severity.INFO, 0.0, group=group))
        stage.manager.close()
        return [line for line in listener.lines() if not line.startswith("MONOTONIC")]

    with listening(address) as listener:
        assert asyncio.run(heard(listener)) == ["RELOADING=1", "READY=1"]
