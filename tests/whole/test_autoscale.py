"""``workers = { min, max, target_lag }`` on a real broker: lag brings workers, its end takes them away for real."""

import os
import re
import signal
from pathlib import Path

from confluent_kafka.admin import AdminClient

from supervisor.core.snapshot import SlotState
from supervisor.kafka.members import membership
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.chaos import all_committed
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program
from tests.whole.test_lag import lag_of

QUICK = 'lag_interval = "200ms"'
RANGE = 'workers = { min = 1, max = 8, target_lag = 20, cooldown = "2s", grow_every = "1s", stuck_after = "6s" }'
OPTIONS = f'{RANGE}\nconcurrency = 4\nrevoke_timeout = "300ms"\n'
PARTITIONS = 4


def size(program: Program) -> int:
    """Return how many workers the group should have now."""
    groups = program.control.status().groups
    return groups[0].workers


def steps(program: Program) -> list[tuple[int, int]]:
    """Return every change so far: from how many to how many."""
    told = program.events("group.scaled")
    return [(int(str(one.fields["before"])), int(str(one.fields["workers"]))) for one in told]


def members(broker: RealBroker, name: str) -> list[str]:
    """Return whom the broker has in the group."""
    seen = membership(AdminClient({"bootstrap.servers": broker.bootstrap}), name, 10)
    return sorted(member.client_id for member in seen.members) if seen is not None else []


def watched(program: Program, seconds: float) -> None:
    """Let the supervisor look on for so long: what it does not do in that time it decided not to do."""
    until = program.control.status().uptime + seconds
    program.wait(lambda: program.control.status().uptime >= until, what="time passes")


def inspector(program: Program) -> int:
    found = (pid for pid in program.pids() if b"inspector.watch" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return next(found, 0)


def test_lag_brings_as_many_workers_as_partitions_and_its_end_takes_them_out_of_the_group(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    program = supervise(broker, OPTIONS, supervisor=QUICK)
    program.wait(lambda: program.shared_out(PARTITIONS), what="one worker has all")
    child = program.wait(lambda: inspector(program), what="the inspector is there")

    count = produce(broker.bootstrap, name, ["sleep:0.05"] * 1600, partition=lambda at: at % PARTITIONS)
    program.wait(lambda: size(program) == 2, what="lag brings a worker")
    program.wait(program.running, what="both run")
    before = program.workers()
    os.kill(child, signal.SIGKILL)
    program.wait(lambda: size(program) == PARTITIONS, 30, what="the next inspector brings the others")
    program.wait(lambda: program.running() and program.shared_out(PARTITIONS), 30, what="one partition each")

    assert before.items() <= program.workers().items(), "the inspector's death is nothing to workers"
    assert len(program.events("inspector.exited")) == 1
    assert steps(program) == [(1, 2), (2, 4)], "doubled; 80 would be wanted, 8 are allowed, 4 have something to do"
    for event in program.events("group.scaled"):
        assert re.fullmatch(r"lag \d+ in 4 of 4 partitions, target 20 per worker", event.text)
        assert f"lag {event.fields['lag']} in" in event.text
        assert (event.fields["partitions"], event.fields["hosts"], event.fields["stuck"]) == (4, 1, 0)
    assert members(broker, name) == [f"a-{name}-{slot}" for slot in range(4)]

    program.wait(lambda: all_committed(broker, name), 60, what="the lag is gone")
    program.wait(lambda: size(program) == 1 and len(program.slots()) == 1, 30, what="back to the least")
    program.wait(lambda: program.shared_out(PARTITIONS), what="the last one has all")

    assert steps(program) == [(1, 2), (2, 4), (4, 3), (3, 2), (2, 1)]
    assert "fewer than 4 have been enough for 2 s" in program.events("group.scaled")[2].text
    assert members(broker, name) == [f"a-{name}-0"], "the others left for real: nobody waits for their session timeout"
    assert len(ledger.places("done")) == count
    assert program.terminate() == 0


def test_a_partition_that_stands_still_counts_for_nothing(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    program = supervise(broker, OPTIONS, supervisor=QUICK)
    program.wait(lambda: program.shared_out(PARTITIONS), what="one worker has all")
    produce(broker.bootstrap, name, ["gate:go"] + ["good"] * 500, partition=lambda _: 3)
    program.wait(lambda: (3, 0) in ledger.places("start"), what="it blocks")
    # One lagging partition needs no second worker, however long it is; then it is known to stand still.
    program.wait(lambda: lag_of(program).total == 501, what="its lag is seen")
    watched(program, 7.0)
    assert steps(program) == []

    produce(broker.bootstrap, name, ["sleep:0.05"] * 900, partition=lambda at: at % 3)
    program.wait(lambda: size(program) == 3, 30, what="the lag of the others brings workers")
    ends = program.events("group.scaled")
    assert steps(program) == [(1, 2), (2, 3)]
    assert all(re.match(r"lag \d+ in 3 of 4 partitions, .*; 1 stuck partitions left out", one.text) for one in ends)
    assert [one.fields["stuck"] for one in ends] == [1, 1]

    ledger.open_gate("go")
    program.wait(lambda: all_committed(broker, name), 60, what="all is worked")
    assert max(to for _, to in steps(program)) <= PARTITIONS


def test_a_group_that_an_operator_stopped_stays_down_however_long_its_lag_grows(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    program = supervise(broker, OPTIONS.replace('stuck_after = "6s"', 'stuck_after = "1h"'), supervisor=QUICK)
    program.wait(lambda: program.shared_out(PARTITIONS), what="one worker has all")
    assert program.cli("stop", name).returncode == 0

    produce(broker.bootstrap, name, ["good"] * 400, partition=lambda at: at % PARTITIONS)
    program.wait(lambda: lag_of(program).total == 400, what="the lag is seen")
    watched(program, 2.0)

    assert steps(program) == []
    assert [slot.state for slot in program.slots()] == [SlotState.STOPPED]
    assert program.cli("start", name).returncode == 0
    program.wait(lambda: all_committed(broker, name), 30, what="it works again")
    assert program.terminate() == 0
