"""The story the demo plays: normal work, a killed worker, a takeover, its return, a poison record."""

import json
import os
import signal
import time

from supervisor.cli.demo.ledger import Kill, Letter, Place, Proof, prove
from supervisor.cli.demo.stage import DEAD_LETTERS, GROUP, PARTITIONS, TOPIC, DemoFailedError, Stage
from supervisor.core.snapshot import SlotSnapshot

FIRST = 100
MORE = 150
LAST = 25
TAKES = 0.02
SEEN_BEFORE_KILL = 5


def play(stage: Stage) -> Proof:
    """Play the whole story and return its proof; raise ``DemoFailedError`` when a step does not happen."""
    view = stage.view
    view.begin("A supervisor starts, with two workers of one consumer group on a topic of two partitions")
    stage.start_supervisor()
    owners = stage.wait(lambda: _owners(stage), "each worker owns one partition")
    a, b = owners[0], owners[1]
    view.done(
        f"worker A (slot {a.slot}, pid {a.pid}) has partition 0, worker B (slot {b.slot}, pid {b.pid}) partition 1"
    )

    view.begin(f"{FIRST} records for each partition")
    stage.control.hold(f"{GROUP}/{a.slot}")
    for partition in range(PARTITIONS):
        stage.produce(partition, _orders(FIRST, takes=0.001))
    # From here to the kill it goes fast: a worker commits once a second, and we want it to die in between.
    stage.wait(lambda: stage.committed().get(0) == FIRST or None, f"offset {FIRST} of partition 0 is committed")
    view.done(f"A has committed offset {FIRST} of partition 0")

    kill = _kill_and_take_over(stage, a)
    _return_of(stage, a)
    poison = _poison(stage)

    view.begin("The supervisor stops: workers drain, commit and leave the group")
    ends = {partition: FIRST + MORE + LAST + (partition == poison[0]) for partition in range(PARTITIONS)}
    stage.wait(lambda: _all_settled(stage, ends, poison), "every record is processed or a dead letter")
    code = stage.stop_supervisor()
    if code != 0:
        message = f"the supervisor ended with {code}, not 0"
        raise DemoFailedError(message)
    view.done("exit code 0")
    letters = [
        Letter(stored.partition, stored.offset, dict(stored.headers))
        for stored in stage.kafka.read(DEAD_LETTERS, PARTITIONS)
    ]
    return prove(ends, stage.entries(), letters=letters, committed=stage.committed(), kill=kill, poison=poison)


def _kill_and_take_over(stage: Stage, a: SlotSnapshot) -> Kill:
    view, pid = stage.view, a.pid
    assert pid is not None  # noqa: S101 - it owns a partition
    view.begin(f"{MORE} more records each; A is killed with -9 in the middle of them, and its slot held down")
    for partition in range(PARTITIONS):
        stage.produce(partition, _orders(MORE, takes=TAKES))
    stage.wait(
        lambda: len([e for e in stage.entries() if e.pid == pid and e.offset >= FIRST]) >= SEEN_BEFORE_KILL or None,
        "A works on them",
    )
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    stage.wait(lambda: next((s for s in stage.slots() if s.slot == a.slot and s.pid is None), None), "A is gone")
    committed = stage.committed().get(0, 0)
    worked = len({e.offset for e in stage.entries() if e.pid == pid and e.offset >= committed})
    view.done(f"A is dead; it had worked {worked} records that it had not committed; committed is {committed}")

    view.begin("The group takes partition 0 from A, once the broker misses its heartbeats (3 s here)")
    stage.wait(lambda: _others_offsets(stage, pid) or None, "B works on partition 0")
    seconds = time.monotonic() - killed_at
    stage.wait(
        lambda: set(range(committed, FIRST + MORE)) <= _others_offsets(stage, pid) or None, "B has caught up with A"
    )
    resumed_at = min(_others_offsets(stage, pid))
    view.done(f"B resumed partition 0 at offset {resumed_at}, {seconds:.1f} s after the kill")
    return Kill(pid=pid, partition=0, committed=committed, resumed_at=resumed_at, seconds=seconds)


def _return_of(stage: Stage, a: SlotSnapshot) -> None:
    stage.view.begin("A's slot is started again")
    stage.control.start(f"{GROUP}/{a.slot}")
    owners = stage.wait(lambda: _owners(stage), "both workers own one partition again")
    mine = next((number for number, slot in owners.items() if slot.slot == a.slot), None)
    stage.view.done(f"A (pid {owners[mine or 0].pid}) is back and has partition {mine}")


def _poison(stage: Stage) -> Place:
    view = stage.view
    view.begin(f"A poison record, and {LAST} more behind it on each partition")
    offset = stage.produce(0, [json.dumps({"id": "poison", "amount": -1})])[0]
    for partition in range(PARTITIONS):
        stage.produce(partition, _orders(LAST, takes=0.001))
    stage.wait(lambda: stage.kafka.read(DEAD_LETTERS, PARTITIONS) or None, "the poison record is a dead letter")
    attempts = dict(stage.kafka.read(DEAD_LETTERS, PARTITIONS)[0].headers).get("supervisor.dlq.attempts", "?")
    view.done(f"{TOPIC}/0@{offset} failed {attempts} times and went to {DEAD_LETTERS}; the rest goes on")
    return (0, offset)


def _orders(count: int, *, takes: float) -> list[str]:
    return [json.dumps({"id": n, "amount": 10 + n, "takes": takes}) for n in range(count)]


def _owners(stage: Stage) -> dict[int, SlotSnapshot] | None:
    """Return who owns which partition, once all are owned, each by another worker."""
    owners = {}
    for slot in stage.slots():
        owned = slot.stats.partitions if slot.stats and slot.pid else ()
        if len(owned) == 1:
            owners[owned[0].partition] = slot
    return owners if len(owners) == PARTITIONS else None


def _all_settled(stage: Stage, ends: dict[int, int], poison: Place) -> bool | None:
    wanted = {(partition, offset) for partition, end in ends.items() for offset in range(end)} - {poison}
    return wanted <= {(entry.partition, entry.offset) for entry in stage.entries()} or None


def _others_offsets(stage: Stage, pid: int) -> set[int]:
    return {entry.offset for entry in stage.entries() if entry.partition == 0 and entry.pid != pid}
