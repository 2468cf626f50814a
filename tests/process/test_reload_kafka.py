"""Changes at run time with real workers on a real broker."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from supervisor.control.answers import Operation
from supervisor.core.snapshot import SlotSnapshot
from supervisor.core.worker_stats import PartitionStats
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.process.test_parent_kafka import CONFIG, Run, owned, running
from tests.waiting import wait_until

HANDLER = """
import os, time
def process(record):
    fd = os.open("{ledger}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{{record.topic}} {{record.partition}} {{record.offset}} {{time.monotonic()}}\\n".encode())
    os.close(fd)
    {more}
"""


def prepare(folder: Path, more: str = "pass") -> Path:
    (folder / "handlers.py").write_text(HANDLER.format(ledger=folder / "ledger", more=more))
    return folder / "ledger"


def worked(ledger: Path, topic: str = "") -> list[tuple[str, int, int]]:
    lines = ledger.read_text().split("\n")[:-1] if ledger.exists() else []
    rows = [line.split() for line in lines]
    return [(row[0], int(row[1]), int(row[2])) for row in rows if not topic or row[0] == topic]


def over(run: Run, begun: Operation) -> Operation:
    def is_over() -> Operation | None:
        now = run.client.operation(begun.number)
        return None if now.state == "running" else now

    found = wait_until(is_over, 60)
    assert found is not None
    return found


def parts(slot: SlotSnapshot) -> tuple[PartitionStats, ...]:
    return slot.stats.partitions if slot.stats else ()


@contextmanager
def running_as(host: str, folder: Path, broker: RealBroker, name: str) -> Iterator[Run]:
    """Run another host's supervisor of the same group."""
    (folder / "supervisor.toml").write_text(
        CONFIG.format(bootstrap=broker.bootstrap, name=name, more="").replace('name = "t"', f'name = "{host}"')
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", "supervisor", "-c", str(folder / "supervisor.toml"), "run"), stderr=log, stdout=log
        )
    try:
        yield Run(folder, process)
    finally:
        process.terminate()
        process.wait(60)


def rewrite(folder: Path, old: str, new: str) -> None:
    path = folder / "supervisor.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def shared_out(slots: list[SlotSnapshot]) -> bool:
    return [owned(slot) for slot in slots] == [2, 2]


def test_a_reload_with_another_topic_really_reads_it(tmp_path: Path, broker: RealBroker, name: str) -> None:
    ledger = prepare(tmp_path)
    more = create_topic(broker.bootstrap, f"{name}-more", partitions=4)
    create_topic(broker.bootstrap, name, partitions=4)
    produce(broker.bootstrap, more, [b"x"] * 8, partition=lambda at: at % 4)
    with running(tmp_path, broker.bootstrap, name) as run:
        run.slots_when(shared_out)
        rewrite(tmp_path, f'topics = ["{name}"]', f'topics = ["{name}", "{more}"]')

        done = over(run, run.client.reload())

        assert (done.state, done.error) == ("done", "")
        run.slots_when(lambda slots: sum(map(owned, slots)) == 8)
        wait_until(lambda: len(set(worked(ledger, more))) == 8, 20)

        rewrite(tmp_path, f'topics = ["{name}", "{more}"]', f'topics = ["{name}"]')
        assert over(run, run.client.reload()).state == "done"
        run.slots_when(shared_out)


def test_a_reload_with_another_assignor_or_protocol_works_on(tmp_path: Path, broker: RealBroker, name: str) -> None:
    ledger = prepare(tmp_path)
    create_topic(broker.bootstrap, name, partitions=4)
    with running(tmp_path, broker.bootstrap, name, more='kafka = {"partition.assignment.strategy" = "range"}') as run:
        run.slots_when(shared_out)
        rewrite(tmp_path, '"range"', '"cooperative-sticky"')
        done = over(run, run.client.reload())
        assert done.state == "done", done
        assert "stopped and started as a whole (kafka.partition.assignment.strategy)" in done.lines[0]
        run.slots_when(shared_out)
        produce(broker.bootstrap, name, [b"x"] * 8, partition=lambda at: at % 4)
        wait_until(lambda: len(set(worked(ledger))) == 8, 20)


def test_p9_a_handler_that_cannot_be_loaded_leaves_the_workers_as_they_are(
    tmp_path: Path, broker: RealBroker, name: str
) -> None:
    prepare(tmp_path)
    create_topic(broker.bootstrap, name, partitions=4)
    with running(tmp_path, broker.bootstrap, name) as run:
        before = [slot.pid for slot in run.slots_when(shared_out)]
        rewrite(tmp_path, '"handlers:process"', '"handlers:prozess"')

        refused = over(run, run.client.reload())

        assert refused.code == 78
        assert "prozess" in refused.error
        rewrite(tmp_path, "workers = 2", 'workers = "two"')
        broken = over(run, run.client.reload())
        assert broken.code == 78
        assert "workers" in broken.error
        assert [slot.pid for slot in run.client.status().groups[0].slots] == before


def test_a_paused_group_reads_nothing_stays_a_member_and_goes_on_where_it_was(
    tmp_path: Path, broker: RealBroker, name: str
) -> None:
    ledger = prepare(tmp_path)
    create_topic(broker.bootstrap, name, partitions=4)
    with running(tmp_path, broker.bootstrap, name) as run:
        run.slots_when(shared_out)
        produce(broker.bootstrap, name, [b"x"] * 40, partition=lambda at: at % 4)
        wait_until(lambda: len(worked(ledger)) == 40, 20)
        run.client.pause(name)
        run.slots_when(lambda slots: all(slot.stats is not None and slot.stats.paused for slot in slots))

        produce(broker.bootstrap, name, [b"x"] * 40, partition=lambda at: at % 4)
        done = over(run, run.client.restart_rolling())  # the new workers are paused from their first assignment on
        slots = run.slots_when(
            lambda slots: shared_out(slots) and all(slot.stats is not None and slot.stats.paused for slot in slots)
        )

        assert done.state == "done"
        assert [slot.stats.waits for slot in slots if slot.stats] == ["paused", "paused"]
        assert len(worked(ledger)) == 40
        run.client.unpause(name)
        wait_until(lambda: len(worked(ledger)) >= 80, 20)
        assert len(set(worked(ledger))) == len(worked(ledger)) == 80


def test_a_drain_finishes_what_was_read_and_leaves_the_rest_to_others(
    tmp_path: Path, broker: RealBroker, name: str
) -> None:
    ledger = prepare(tmp_path, "time.sleep(0.02)")
    create_topic(broker.bootstrap, name, partitions=4)
    with running(tmp_path, broker.bootstrap, name) as run:
        run.slots_when(shared_out)
        produce(broker.bootstrap, name, [b"x"] * 400, partition=lambda at: at % 4)
        wait_until(lambda: len(worked(ledger)) > 20, 20)

        done = over(run, run.client.drain(f"{name}/0", timeout=60))

        assert done.state == "done", done
        run.slots_when(lambda slots: owned(slots[1]) == 4)
        wait_until(lambda: len(set(worked(ledger))) == 400, 60)
        assert len(worked(ledger)) == 400, "nothing was given back and worked again"


def test_p3_an_upgrade_in_place_is_unnoticed_by_other_hosts(tmp_path: Path, broker: RealBroker, name: str) -> None:
    """``stop --keep``, then another ``supervisor run``: the same identities take the same partitions back."""
    one, other = tmp_path / "one", tmp_path / "other"
    create_topic(broker.bootstrap, name, partitions=4)
    for folder in (one, other):
        folder.mkdir()
        prepare(folder)
    with running(one, broker.bootstrap, name, more="") as upgraded, running_as("u", other, broker, name) as neighbour:
        upgraded.slots_when(lambda slots: [owned(slot) for slot in slots] == [1, 1])
        neighbour.slots_when(lambda slots: [owned(slot) for slot in slots] == [1, 1])
        mine = {part.partition for slot in upgraded.client.status().groups[0].slots for part in parts(slot)}
        callbacks = (other / "log").read_text().count("partitions.")
        at = time.monotonic()
        command = (sys.executable, "-m", "supervisor", "-c", str(one / "supervisor.toml"))
        subprocess.run((*command, "stop", "--keep"), check=True, timeout=60)
        assert upgraded.process.wait(30) == 0
        produce(broker.bootstrap, name, [b"x"] * 8, partition=lambda number: number % 4)

        with (one / "log2").open("wb") as log:
            process = subprocess.Popen((*command, "run"), stderr=log, stdout=log)
        try:
            again = Run(one, process)
            again.slots_when(lambda slots: [owned(slot) for slot in slots] == [1, 1])
            wait_until(lambda: {place[1] for place in worked(one / "ledger")} == mine, 20)
            print(f"upgrade in place: {time.monotonic() - at:.2f} s from stop to the first records")
            assert (other / "log").read_text().count("partitions.") == callbacks, "the other host noticed"
            assert {part.partition for slot in again.client.status().groups[0].slots for part in parts(slot)} == mine
        finally:
            process.terminate()
            process.wait(60)


def test_a_rolling_restart_under_load_repeats_nothing(tmp_path: Path, broker: RealBroker, name: str) -> None:
    ledger = prepare(tmp_path)
    create_topic(broker.bootstrap, name, partitions=4)
    with running(tmp_path, broker.bootstrap, name) as run:
        run.slots_when(shared_out)
        produce(broker.bootstrap, name, [b"x"] * 2000, partition=lambda at: at % 4)

        assert over(run, run.client.restart_rolling(name)).state == "done"

        wait_until(lambda: len(set(worked(ledger))) == 2000, 30)
        for partition in range(4):
            offsets = [offset for _, number, offset in worked(ledger) if number == partition]
            assert all(before < after for before, after in pairwise(offsets))
