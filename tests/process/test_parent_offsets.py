"""The parent's sequence around a reset: whatever the child does, what ran runs again."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.control.answers import OffsetsJob
from supervisor.control.requests import Offsets
from supervisor.core.events import Event, Severity
from supervisor.core.slot import Policy, Slot, SlotEvent, Start, Stop
from supervisor.core.snapshot import SlotState
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.running import offsets as module
from supervisor.parent.running.offsets import BusyError, OffsetJobs
from supervisor.parent.store.eventlog import EventLog
from supervisor.parent.supervisor import Supervisor
from tests.plugins.test_findings import SPEC

CHILD = """
import json, os, pathlib, sys, time
request = json.load(sys.stdin)
words = pathlib.Path(sys.argv[1]).read_text()
if not request["apply"]:
    print(json.dumps({"moves": [], "members": json.loads(words)["members"], "error": ""}))
elif (how := json.loads(words)["how"]) == "dies":
    os._exit(9)
elif how == "hangs":
    pathlib.Path(sys.argv[1] + ".hangs").touch()
    time.sleep(600)
elif how == "babbles":
    print('{"moves": 5}')
else:
    print(json.dumps({"moves": [], "members": [], "error": how, "changed": json.loads(words)["changed"]}))
"""
GROUP = SPEC.name


@dataclass
class FakeRunner:
    """A slot that obeys at once, or never goes down."""

    state: SlotState = SlotState.RUNNING
    is_stubborn: bool = False
    heard: list[SlotEvent] = field(default_factory=list)
    name: str = f"{GROUP}/0"
    group: Any = field(default_factory=lambda: SimpleNamespace(policy=Policy(stop_timeout=0.1, leave_timeout=0.1)))

    @property
    def slot(self) -> Slot:
        return Slot(state=self.state)

    @property
    def is_down(self) -> bool:
        return self.state is SlotState.STOPPED

    def feed(self, event: SlotEvent) -> None:
        self.heard.append(event)
        if not self.is_stubborn:
            self.state = SlotState.STOPPED if isinstance(event, Stop) else SlotState.RUNNING


@dataclass
class Rig:
    """The parent's side of one reset, over a child that does what ``how`` says."""

    folder: Path
    runners: list[FakeRunner]
    how: str = ""
    members: tuple[str, ...] = ()
    changed: str = ""
    events: EventLog = field(default_factory=EventLog)
    job: OffsetsJob | None = None

    def reset(self, meanwhile: Callable[[OffsetJobs], None] = lambda _: None) -> OffsetsJob:
        """Run it to its end and return it."""
        asyncio.run(self.run(meanwhile))
        assert self.job is not None
        return self.job

    async def run(self, meanwhile: Callable[[OffsetJobs], None] = lambda _: None) -> None:
        words = {"how": self.how, "members": self.members, "changed": self.changed}
        (self.folder / "words").write_text(json.dumps(words))
        plan = SimpleNamespace(name=GROUP, spec=lambda *_: SimpleNamespace(group=SPEC))
        supervisor = SimpleNamespace(
            plan=SimpleNamespace(supervisor="a", groups=[plan]),
            stopping=False,
            events=self.events,
            runners={(GROUP, at): runner for at, runner in enumerate(self.runners)},
        )
        exits = ExitWatch()
        program = (sys.executable, "-c", CHILD, str(self.folder / "words"))
        jobs = OffsetJobs(cast("Supervisor", supervisor), exits, program=program)
        try:
            jobs.begin(Offsets(group=GROUP, to="earliest", apply=True))
            meanwhile(jobs)
            async with asyncio.timeout(20):
                while (job := jobs.job(GROUP)) is None or not job.is_done:  # noqa: ASYNC110 - a test polls
                    await asyncio.sleep(0.01)
        finally:
            await jobs.stop()
            self.job = jobs.job(GROUP)
            exits.close()

    def told(self) -> list[Event]:
        return [entry.event for entry in self.events.since(0).entries]

    def assert_told_to_have_failed(self) -> None:
        (event,) = self.told()
        assert self.job is not None
        assert (event.name, event.severity, event.group) == ("offsets.reset_failed", Severity.WARNING, GROUP)
        assert event.text == self.job.answer.error
        assert event.fields == {"to": "earliest", "changed": self.changed}


def kinds(runner: FakeRunner) -> list[type]:
    return [type(event) for event in runner.heard]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("", ""),
        ("not now", "not now"),
        ("dies", "ended with exit code 9 and no result"),
        ("babbles", "no answer"),
        ("hangs", "did not end within 2 s"),
    ],
)
def test_what_ran_runs_again_whatever_the_child_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, error: str
) -> None:
    monkeypatch.setattr(module, "DEADLINE", 2.0)
    runs, rests = FakeRunner(), FakeRunner(SlotState.STOPPED)
    rig = Rig(tmp_path, [runs, rests], how)

    job = rig.reset()

    assert error in job.answer.error
    assert bool(job.answer.error) is bool(error)
    assert kinds(runs) == [Stop, Start]
    assert kinds(rests) == [], "what was stopped stays so"
    assert ("what was set is not known" in job.answer.error) is (how in {"dies", "hangs", "babbles"})
    if error:
        rig.assert_told_to_have_failed()
    else:
        assert [(event.name, event.text) for event in rig.told()] == [("offsets.reset", "0 partitions set to earliest")]


def test_a_reset_of_which_some_partitions_were_refused_is_told_with_those_that_were_set(tmp_path: Path) -> None:
    error = f"not all was changed: group {GROUP}: X; set: orders/0-3; as before: orders/4"
    runs = FakeRunner()
    rig = Rig(tmp_path, [runs], error, changed="orders/0-3")

    job = rig.reset()

    assert (job.answer.error, job.answer.changed) == (error, "orders/0-3")
    rig.assert_told_to_have_failed()
    assert kinds(runs) == [Stop, Start]


def test_p8_a_slot_that_does_not_go_down_ends_it_with_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_MARGIN", 0.1)
    stubborn = FakeRunner(is_stubborn=True)
    rig = Rig(tmp_path, [stubborn])

    job = rig.reset()

    assert job.answer.error == f"nothing was changed: not down within 0 s: {GROUP}/0"
    assert kinds(stubborn) == [Stop, Start]
    rig.assert_told_to_have_failed()


def test_nobody_is_stopped_while_others_are_in_the_group(tmp_path: Path) -> None:
    ours, theirs = f"a-{GROUP}-0 @ 10.0.0.1", f"b-{GROUP}-0 @ 10.0.0.2"
    runs = FakeRunner()
    rig = Rig(tmp_path, [runs], members=(ours, theirs))

    job = rig.reset()

    assert job.answer.error.endswith(f"has members elsewhere, stop them first: {theirs}")
    assert kinds(runs) == []
    rig.assert_told_to_have_failed()


def test_a_second_job_for_the_group_is_refused_meanwhile(tmp_path: Path) -> None:
    def again(jobs: OffsetJobs) -> None:
        with pytest.raises(BusyError):
            jobs.begin(Offsets(group=GROUP))

    Rig(tmp_path, [FakeRunner()]).reset(again)


def test_a_supervisor_that_stops_gives_it_up_says_so_and_leaves_no_child(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [FakeRunner()], "hangs")

    async def main() -> None:
        task = asyncio.ensure_future(rig.run())
        async with asyncio.timeout(20):
            while not (tmp_path / "words.hangs").exists():  # noqa: ASYNC110 - a test polls
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task}, timeout=15)

    asyncio.run(main())

    assert rig.job is not None
    assert rig.job.is_done
    assert rig.job.answer.error.startswith("given up: the supervisor stops; what was set is not known: ")
    rig.assert_told_to_have_failed()
