"""Files of what people were told and of silences, as another version, a crash or a hand may have left them (P7)."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.alert_flow import FlowRules, Silence
from supervisor.core.conditions import Kind, Rule
from supervisor.core.events import Event, Severity
from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.parent.alerts import alerting as alerting_module
from supervisor.parent.alerts.alerting import Alerting, AlertPlan
from supervisor.parent.store.eventlog import EventLog
from tests.looping import in_loop

PLAN = AlertPlan(FlowRules(group_wait=0.0, repeat=600.0, rate=30), {Kind.WORKER_DOWN: Rule(Severity.WARNING, 0.0)})
RIGHT: dict[str, dict[str, Any]] = {
    "silences": {"number": 1, "name": "x", "until": 4e9, "group": "", "slot": None, "reason": "", "by": ""},
    "alerts": {"name": "worker_down", "severity": "warning", "group": "a", "slot": 1, "text": "", "since": 1.0},
}
WHOLE = (
    "",
    "{",
    "[" * 100_000,
    "\x00" * 100,
    "null",
    '{"v": 2, "LIST": []}',
    '{"v": 1, "LIST": {}}',
    '{"v": 1, "LIST": [7]}',
)
ODD = ("{}", "[]", "true", "1e999", "-1e999", "NaN", "1" + "0" * 400, '"x"', "7", "null")


def _is_right(key: str, odd: str) -> bool:
    """Tell whether a value is one that the member may have."""
    kinds = {"number": "7", "until": "7", "since": "7", "slot": "7 null"}
    return odd in kinds.get(key, '"x"').split() and key != "severity"


def _files(stem: str) -> list[str]:
    whole = json.dumps({"v": 1, stem: [RIGHT[stem], RIGHT[stem]]})
    odd = [
        json.dumps({"v": 1, stem: [RIGHT[stem], {**RIGHT[stem], key: "ODD"}]}).replace('"ODD"', one)
        for key in RIGHT[stem]
        for one in ODD
        if not _is_right(key, one)
    ]
    missing = json.dumps({"v": 1, stem: [{key: RIGHT[stem][key] for key in list(RIGHT[stem])[1:]}]})
    return [*(text.replace("LIST", stem) for text in WHOLE), whole[:-20], missing, *odd]


async def _live(folder: Path) -> EventLog:
    """Open, tell of a worker that is down, silence, and end; as a supervisor does."""
    events, told, now = EventLog(), list[Event](), asyncio.get_running_loop().time()
    alerting = Alerting(PLAN, events=events, offer=told.append, state_dir=folder)
    slot = SlotSnapshot("orders", 1, SlotState.FATAL)
    alerting.snapshot = lambda: Snapshot("w", "1", 1, 0.0, now, (GroupSnapshot("orders", ("t",), 1, (slot,)),))
    alerting.open()
    for _ in range(2):
        alerting.pulse()
    assert [event.name for event in told if event.group == "orders"] == ["alert.firing"]
    assert alerting.unsilence(alerting.silence(Silence(0, "y", until=4e9)).number) is not None
    json.dumps([event.fields for event in told], allow_nan=False)
    await alerting.stop()
    return events


async def _open(folder: Path) -> None:
    Alerting(PLAN, events=EventLog(), offer=lambda _: None, state_dir=folder).open()


@pytest.mark.parametrize("stem", RIGHT)
def test_p7_a_kept_file_that_is_not_right_is_told_once_and_nothing_else_is_lost(
    stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alerting_module, "LOOK_EVERY", 0.0)
    (other,) = set(RIGHT) - {stem}
    for at, text in enumerate(_files(stem)):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / f"{stem}.json").write_text(text)
        (folder / f"{other}.json").write_text(json.dumps({"v": 1, other: [RIGHT[other]]}))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            try:
                asyncio.run(_live(folder))
            except Exception as error:  # noqa: BLE001 - whatever it raises, say for which file
                pytest.fail(f"{text[-200:]!r}: {error!r}")

        lost = [record.message for record in caplog.records if record.message.endswith("_lost")]
        assert lost == ["alerts.silences_lost" if stem == "silences" else "alerts.firing_lost"], text[-200:]
        caplog.clear()
        asyncio.run(_open(folder))
        assert not [record for record in caplog.records if record.message.endswith("_lost")], text[-200:]


@in_loop
async def test_what_is_right_is_read(tmp_path: Path) -> None:
    for stem, one in RIGHT.items():
        (tmp_path / f"{stem}.json").write_text(json.dumps({"v": 1, stem: [{**one, "newer": [1]}]}))
    alerting = Alerting(PLAN, events=EventLog(), offer=lambda _: None, state_dir=tmp_path)
    alerting.open()

    assert [one.name for one in alerting.answer().silences] == ["x"]
    assert [(one.group, one.slot) for one in alerting.answer().firing] == [("a", 1)]
