"""The parent's side of alerts: conditions become events, events become notifications, silences outlive it."""

import asyncio
import stat
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.alert_flow import FlowRules, Silence
from supervisor.core.conditions import CLEAR, RESTORED, Kind, Rule
from supervisor.core.events import Event, Severity
from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.parent.alerts.alerting import LOOK_EVERY, Alerting, AlertPlan
from supervisor.parent.store.eventlog import EventLog

RULES = {Kind.WORKER_DOWN: Rule(Severity.WARNING, 0.0)}
PLAN = AlertPlan(FlowRules(group_wait=5.0, repeat=600.0, rate=30), RULES)


class Rig:
    """An ``Alerting`` whose clock the test turns."""

    def __init__(self, state_dir: Path, plan: AlertPlan = PLAN) -> None:
        self.events = EventLog()
        self.told: list[Event] = []
        self.state = SlotState.RUNNING
        self.now = 1000.0
        self.alerting = Alerting(plan, events=self.events, offer=self.told.append, state_dir=state_dir)
        self.alerting._loop = self  # type: ignore[assignment]
        self.alerting._looked_at = self.now
        self.alerting.snapshot = self.snapshot
        self.alerting.open()

    def time(self) -> float:
        return self.now

    def snapshot(self) -> Snapshot:
        slot = SlotSnapshot("orders", 1, self.state, reason="SIGSEGV")
        return Snapshot("web-1", "1", 1, 0.0, 0.0, (GroupSnapshot("orders", ("orders",), 1, (slot,)),))

    def pulse(self, after: float) -> list[str]:
        self.now += after
        self.told.clear()
        self.alerting.pulse()
        return [event.name for event in self.told]

    def recorded(self, name: str) -> list[Event]:
        return [entry.event for entry in self.events.since(0).entries if entry.event.name == name]


def in_a_loop(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    run.__name__ = test.__name__
    return run


@in_a_loop
async def test_p7_a_condition_is_one_event_when_it_begins_and_one_when_it_is_over(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.state = SlotState.FATAL

    assert rig.pulse(LOOK_EVERY) == ["alert.firing"]
    assert rig.pulse(LOOK_EVERY) == []
    (firing,) = rig.alerting.answer().firing
    assert (firing.name, firing.group, firing.slot, firing.text) == ("worker_down", "orders", 1, "fatal: SIGSEGV")
    rig.state = SlotState.RUNNING
    assert rig.pulse(LOOK_EVERY) == []
    assert rig.pulse(CLEAR) == ["alert.resolved"]
    assert len(rig.recorded("alert.firing")) == len(rig.recorded("alert.resolved")) == 1
    assert rig.alerting.answer().firing == ()


@in_a_loop
async def test_a_condition_says_where_it_is_written_what_to_do(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for url in ("", "https://wiki.example.org/runbook"):
        rig.alerting.replan(replace(PLAN, runbook_url=url))
        rig.state = SlotState.FATAL
        rig.pulse(LOOK_EVERY)
        rig.state = SlotState.RUNNING
        rig.pulse(CLEAR)

    assert [event.fields["runbook"] for event in rig.recorded("alert.firing")] == [
        "supervisor runbook worker_down",
        "https://wiki.example.org/runbook#worker_down",
    ]
    assert not any("runbook" in event.fields for event in rig.recorded("alert.resolved"))


@in_a_loop
async def test_conditions_are_looked_for_every_few_seconds_only(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.state = SlotState.FATAL

    assert rig.pulse(LOOK_EVERY - 1) == []
    assert rig.pulse(1.0) == ["alert.firing"]


@in_a_loop
async def test_deaths_of_many_workers_are_one_notification(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for slot in range(5):
        rig.events.tell("worker.exited", Severity.WARNING, "SIGSEGV", group="orders", slot=slot)

    assert rig.told == []
    rig.pulse(5.0)
    assert [(one.name, one.fields["count"]) for one in rig.told] == [("worker.exited", 5)]
    assert len(rig.recorded("worker.exited")) == 5, "each stands in the journal"


@in_a_loop
async def test_a_supervisor_that_ends_tells_what_still_waits(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.events.tell("worker.exited", Severity.WARNING, "SIGSEGV", group="orders", slot=0)

    rig.alerting.flush()

    assert [event.name for event in rig.told] == ["worker.exited"]


@in_a_loop
async def test_silences_outlive_the_supervisor(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    added = first.alerting.silence(Silence(0, "worker.*", until=4e9, group="orders", reason="known"))
    await first.alerting.stop()

    second = Rig(tmp_path)
    second.events.tell("worker.exited", Severity.CRITICAL, group="orders", slot=0)
    assert second.told == []
    assert second.alerting.answer().silences == (added,)
    assert second.alerting.answer().silenced == 1
    assert stat.S_IMODE((tmp_path / "silences.json").stat().st_mode) == 0o600

    assert second.alerting.unsilence(added.number) == added
    assert second.alerting.unsilence(added.number) is None
    second.events.tell("worker.exited", Severity.CRITICAL, group="orders", slot=0)
    assert [event.name for event in second.told] == ["worker.exited"]
    await second.alerting.stop()
    assert Rig(tmp_path).alerting.answer().silences == ()


@in_a_loop
async def test_a_broken_file_of_silences_silences_nobody_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "silences.json").write_text("{")

    rig = Rig(tmp_path)

    assert len(rig.recorded("alerts.silences_lost")) == 1
    assert rig.alerting.answer().silences == ()


@in_a_loop
async def test_silences_that_cannot_be_kept_hold_all_the_same(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "nowhere")
    rig.alerting.silence(Silence(0, "*", until=4e9))
    await rig.alerting.stop()

    assert len(rig.recorded("alerts.silences_unkept")) == 1
    assert len(rig.alerting.answer().silences) == 1


@in_a_loop
async def test_the_end_of_what_people_were_told_of_is_told_by_the_next_supervisor(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    first.state = SlotState.FATAL
    assert first.pulse(LOOK_EVERY) == ["alert.firing"]
    await first.alerting.stop()

    second = Rig(tmp_path)
    assert second.pulse(LOOK_EVERY) == []
    assert [one.name for one in second.alerting.answer().firing] == ["worker_down"]
    assert second.pulse(RESTORED) == ["alert.resolved"]
    await second.alerting.stop()

    third = Rig(tmp_path)
    assert third.alerting.answer().firing == ()


@in_a_loop
async def test_what_still_lasts_after_a_restart_is_not_told_anew(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    first.state = SlotState.FATAL
    first.pulse(LOOK_EVERY)
    await first.alerting.stop()

    second = Rig(tmp_path)
    second.state = SlotState.FATAL

    assert [second.pulse(LOOK_EVERY), second.pulse(RESTORED)] == [[], []]
    second.state = SlotState.RUNNING
    assert second.pulse(CLEAR + 1) == ["alert.resolved"]


@in_a_loop
async def test_what_was_silenced_is_told_after_a_restart_when_its_silence_is_over(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    silence = first.alerting.silence(Silence(0, "worker_down", until=4e9))
    first.state = SlotState.FATAL
    assert first.pulse(LOOK_EVERY) == []
    first.alerting.unsilence(silence.number)
    await first.alerting.stop()

    second = Rig(tmp_path)
    second.state = SlotState.FATAL

    assert second.pulse(LOOK_EVERY) == ["alert.firing"]


@in_a_loop
async def test_a_broken_file_of_what_was_told_keeps_nobody_from_starting(tmp_path: Path) -> None:
    for text in ("{", '{"v": 1, "alerts": [{"name": 1}]}', '{"v": 1, "alerts": [7]}'):
        (tmp_path / "alerts.json").write_text(text)

        assert Rig(tmp_path).alerting.answer().firing == ()


@in_a_loop
async def test_other_rules_hold_from_a_reload_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.state = SlotState.FATAL
    rig.alerting.replan(AlertPlan())

    assert rig.pulse(LOOK_EVERY) == []


def test_nobody_is_told_of_what_only_the_journal_needs(tmp_path: Path) -> None:
    async def run() -> None:
        rig = Rig(tmp_path)
        for severity in (Severity.DEBUG, Severity.INFO):
            rig.events.tell("slot.state", severity, group="orders", slot=0)
        assert rig.pulse(1000.0) == []

    asyncio.run(run())


@pytest.mark.parametrize("after", [0.0, 3.0])
def test_critical_events_do_not_wait(tmp_path: Path, after: float) -> None:
    async def run() -> None:
        rig = Rig(tmp_path)
        rig.now += after
        rig.events.tell("slot.fatal", Severity.CRITICAL, group="orders", slot=0)
        assert [event.name for event in rig.told] == ["slot.fatal"]

    asyncio.run(run())
