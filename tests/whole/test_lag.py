"""The lag of whole groups, as a running supervisor shows it."""

import os
import signal
from pathlib import Path

from supervisor.core.lag import GroupLag
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.program import Program


def lag_of(program: Program) -> GroupLag:
    found = program.control.status().groups[0].lag
    assert found is not None
    return found


def test_a_group_that_stands_still_here_still_shows_its_lag(
    broker: RealBroker,
    name: str,
    supervise: Supervise,
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, "workers = 2", supervisor='lag_interval = "300ms"')
    program.wait(lambda: program.shared_out(2), what="one partition each")
    program.wait(lambda: len(lag_of(program).members or ()) == 2, what="both are seen")
    seen = lag_of(program)
    assert all(one.is_ours for one in seen.members or ())
    assert {one.owner for one in seen.partitions} == {f"a-{name}-0", f"a-{name}-1"}

    assert program.cli("stop", name).returncode == 0
    produce(broker.bootstrap, name, ["good"] * 20, partition=lambda at: at % 2)
    program.wait(lambda: lag_of(program).total == 20, what="the lag of what nobody owns")

    seen = lag_of(program)
    assert [one.lag for one in seen.unowned] == [10, 10]
    shown = program.cli("status").stdout
    assert "20 in 2 partitions" in shown.partition("UNOWNED")[2]

    child = next(pid for pid in program.pids() if b"inspector.watch" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(child, signal.SIGKILL)
    program.wait(lambda: program.events("inspector.exited"), what="its end is told")
    program.wait(lambda: (lag_of(program).age or 99) < 0.5, what="the next one reads again")
    assert len(program.events("inspector.exited")) == 1
    assert program.terminate() == 0
