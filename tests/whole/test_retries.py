"""What a retry policy has done to the whole supervisor: groups paused and resumed, workers ended."""

from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger

RULES = """
workers = 2
retry.attempts = 1
retry.rules = [{{ error = "work:InvalidError", then = "{then}" }}]
"""


def test_p1_p7_a_record_pauses_its_whole_group_until_an_operator_resumes_it(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, RULES.format(then="pause"))
    program.wait(lambda: program.shared_out(2), what="one partition each")
    produce(broker.bootstrap, name, ["good", "until:open", "good"], partition=lambda _: 0)
    program.wait(lambda: program.events("group.paused"), what="it is told")
    program.wait(lambda: all(slot.stats and slot.stats.paused for slot in program.slots()), what="all are paused")

    produce(broker.bootstrap, name, ["good"] * 3, partition=lambda _: 1)
    ledger.open_gate("open")
    assert ledger.offsets(0) == [0]

    assert program.cli("resume", name).returncode == 0
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3, 1: 3}, what="all is worked")

    (event,) = program.events("group.paused")
    assert f"{name}/0@1: failed 1 times" in event.text
    assert f"supervisor resume {name}" in event.text
    assert [line.attempt for line in ledger.lines("start") if line.place == (0, 1)] == [1, 2]
    assert [slot.restarts for slot in program.slots()] == [0, 0]
    assert program.terminate() == 0


def test_p1_p7_a_record_that_crashes_its_worker_comes_again_to_the_next(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good", "until:open", "good"])
    program = supervise(broker, RULES.format(then="crash"))
    program.wait(lambda: program.events("worker.exited"), what="it ended")
    ledger.open_gate("open")

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3}, what="all is worked")

    event = program.events("worker.exited")[0]
    assert f"exit code 72 (policy) ({name}/0@1: failed 1 times)" in event.text
    assert ledger.offsets(0)[-2:] == [1, 2]
    assert len(program.events("worker.exited")) == program.slots()[0].restarts
    assert program.terminate() == 0
