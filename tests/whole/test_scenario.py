"""The scenario this project began with, on a real broker with everything at its default."""

import os
import signal
import time

from supervisor.core.snapshot import SlotState
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger


def test_p1_p3_another_worker_resumes_at_the_committed_offset_of_one_that_was_killed(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, "workers = 2", kafka="")

    # Normal operation: A works partition 0 and has committed offset 100, B works partition 1.
    program.wait(lambda: len({slot.slot for slot in program.owners().values()}) == 2, what="one partition each")
    a, b = program.owners()[0], program.owners()[1]
    produce(broker.bootstrap, name, ["good"] * 200, partition=lambda at: at % 2)
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 100, 1: 100}, what="100 is committed")

    # A fails, in the middle of record 100; its slot is held down, else it would be back in a moment.
    produce(broker.bootstrap, name, ["gate:open"] + ["good"] * 49, partition=lambda _: 0)
    program.wait(lambda: ledger.offsets(0, "start")[-1:] == [100], what="A is in record 100")
    program.control.hold(f"{name}/{a.slot}")
    assert a.pid is not None
    os.kill(a.pid, signal.SIGKILL)
    killed_at = time.monotonic()
    ledger.open_gate("open")
    program.wait(lambda: ledger.offsets(0)[-1:] == [149], what="B works partition 0")
    resumed = [line for line in ledger.lines("start") if line.partition == 0 and line.slot == b.slot]

    # It was one take-over: from 100, by B, without the 45 s of the session.
    assert resumed[0].offset == 100
    assert [line.offset for line in resumed] == list(range(100, 150))
    assert {line.pid for line in resumed} == {b.pid}
    assert resumed[0].at - killed_at < 15.0
    program.wait(lambda: committed(broker.bootstrap, name, name)[0] == 150, what="B has committed 150")
    down = program.slot(a.slot)
    assert (down.state, down.pid) == (SlotState.STOPPED, None)
    assert "held" in down.reason

    # A's slot is started again and takes part.
    assert program.cli("start", f"{name}/{a.slot}").returncode == 0
    program.wait(lambda: len({slot.slot for slot in program.owners().values()}) == 2, what="one partition each again")
    produce(broker.bootstrap, name, ["good"] * 100, partition=lambda at: at % 2)
    program.wait(lambda: len(ledger.places()) == 350, what="all are done")
    again = {line.slot for line in ledger.lines("done") if line.at > program.ledger.lines("done")[-100].at}
    assert again == {a.slot, b.slot}
    assert ledger.repeats() == 0
    assert program.terminate() == 0
    assert committed(broker.bootstrap, name, name) == {0: 200, 1: 150}
    print(f"B resumed partition 0 at 100, {resumed[0].at - killed_at:.2f} s after the kill")
