"""The parent with real workers on a real broker: what static membership is for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from supervisor.control.client import ControlClient, ControlError
from supervisor.core.events import Event
from supervisor.core.snapshot import SlotSnapshot, SlotState
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.waiting import wait_until

CONFIG = """
[supervisor]
name = "t"
runtime_dir = "run"
alerts = []
[kafka]
"bootstrap.servers" = "{bootstrap}"
[groups."{name}"]
topics = ["{name}"]
handler = "handlers:process"
workers = 2
{more}
"""


class Run:
    """A real ``supervisor run``."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.client = ControlClient(folder / "run" / "control.sock")

    def slots_when(self, condition: Callable[[list[SlotSnapshot]], bool], timeout: float = 20) -> list[SlotSnapshot]:
        found: list[SlotSnapshot] = []

        def asked() -> bool:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                found[:] = self.client.status().groups[0].slots
            except ControlError:
                return False
            return condition(found)

        try:
            wait_until(asked, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{found}\n{(self.folder / 'log').read_text()[-5000:]}") from error
        return found


def events(run: Run, name: str) -> list[Event]:
    return [entry.event for entry in run.client.events().entries if entry.event.name == name]


def owned(slot: SlotSnapshot) -> int:
    return len(slot.stats.partitions) if slot.stats else 0


@contextmanager
def running(
    folder: Path, bootstrap: str, name: str, *, more: str = "", replace: tuple[str, str] = ("", "")
) -> Iterator[Run]:
    config = CONFIG.format(bootstrap=bootstrap, name=name, more=more)
    (folder / "supervisor.toml").write_text(config.replace(*replace) if replace[0] else config)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", "supervisor", "-c", str(folder / "supervisor.toml"), "run"), stderr=log, stdout=log
        )
    try:
        yield Run(folder, process)
    finally:
        process.terminate()
        process.wait(60)


def test_a_killed_worker_takes_its_partitions_back_and_a_held_one_leaves_them_to_others(
    tmp_path: Path, broker: RealBroker, name: str
) -> None:
    (tmp_path / "handlers.py").write_text("def process(record): pass\n")
    create_topic(broker.bootstrap, name, partitions=4)
    with running(tmp_path, broker.bootstrap, name) as run:
        before = run.slots_when(lambda slots: [owned(slot) for slot in slots] == [2, 2])
        assert before[0].pid is not None

        os.kill(before[0].pid, signal.SIGKILL)
        after = run.slots_when(lambda slots: [owned(slot) for slot in slots] == [2, 2] and slots[0].incarnation == 2)
        assert after[0].pid is not None

        begun = time.monotonic()
        run.client.hold(f"{name}/0")
        os.kill(after[0].pid, signal.SIGKILL)
        held = run.slots_when(lambda slots: slots[0].state is SlotState.STOPPED and owned(slots[1]) == 4)
        assert held[0].incarnation == 3
        assert time.monotonic() - begun < 15, "the session timeout of 45 s was waited for"

        run.client.start(f"{name}/0")
        run.slots_when(lambda slots: [owned(slot) for slot in slots] == [2, 2])

        run.client.stop()
        assert run.process.wait(30) == 0


def test_p7_a_record_that_kills_its_worker_again_and_again_is_named_and_ends_as_a_dead_letter(
    tmp_path: Path, broker: RealBroker, name: str
) -> None:
    (tmp_path / "handlers.py").write_text("import ctypes\ndef process(record): ctypes.string_at(0)\n")
    topic = create_topic(broker.bootstrap, name, partitions=1)
    with running(tmp_path, broker.bootstrap, name, more="failover_after = '1h'") as run:
        run.slots_when(lambda slots: sum(map(owned, slots)) == 1)
        produce(broker.bootstrap, topic, [b"x"])

        wait_until(lambda: events(run, "record.dead_lettered"), 30)
        run.slots_when(lambda slots: all(slot.state is SlotState.RUNNING for slot in slots))

        (letter,) = events(run, "record.dead_lettered")
        assert letter.fields["disposition"] == "worker-killed"
        deaths = events(run, "worker.exited")
        assert {event.fields["in_flight"] for event in deaths} == {f"{topic}/0@0"}
        assert all(event.text.startswith(f"SIGSEGV at {topic}/0@0") for event in deaths)
        assert 3 <= len(deaths) <= 4
