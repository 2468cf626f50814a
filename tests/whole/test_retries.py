"""What a retry policy has done to the whole supervisor: groups paused and resumed, workers ended."""

from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program

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
    assert len(program.events("worker.exited")) == sum(slot.restarts for slot in program.slots())
    assert program.terminate() == 0


TOPICS = """
workers = 2
ordering = "none"
retry.attempts = 1
retry.topics = ["500ms", "1s"]
"""


def test_until_end_waits_for_what_is_in_retry_topics(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    produce(broker.bootstrap, name, ["good", "raise"] * 20, partition=lambda at: at // 2 % 2)

    program = supervise(broker, TOPICS, arguments=("--until-end",))

    assert program.ended(90) == 0
    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    wanted = {f"{name}/{name}/{at // 2 % 2}/{at // 4 * 2 + 1}" for at in range(1, 40, 2)}
    # Each once, or more often where a rebalance came between: letters are at least once.
    assert {letter.header["supervisor.dlq.audit-id"] for letter in letters} == wanted
    assert {line.attempt for line in ledger.lines("start")} == {1, 2, 3}


def test_what_waits_in_a_retry_topic_is_lag_is_shown_with_offsets_and_no_reset_touches_it_unnamed(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    program = supervise(broker, TOPICS.replace('"500ms", "1s"', '"1h"'))
    program.wait(lambda: program.logged("partitions.assigned", f"{name}.retry.1h/0"), what="it reads its retry topic")

    produce(broker.bootstrap, name, ["good", "raise", "good"])
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3}, what="the others go on")

    program.wait(lambda: lags(program) == {name: 0, f"{name}.retry.1h": 1}, what="the lag is known")
    shown = program.cli("offsets", "show", name, "--json").stdout
    assert f"{name}.retry.1h" in shown
    assert program.cli("stop", name).returncode == 0
    planned = program.cli("offsets", "reset", name, "--to", "earliest", "--dry-run").stdout
    assert f"{name}/0" in planned
    assert "retry.1h" not in planned
    assert program.terminate() == 0


def lags(program: Program) -> dict[str, int | None]:
    lag = program.control.status().groups[0].lag
    return {one.topic: one.lag for one in lag.partitions} if lag is not None else {}


def test_honest_long_work_that_asks_for_its_time_is_not_taken_for_a_hang(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    program = supervise(broker, 'handler_timeout = "1s"')
    produce(broker.bootstrap, name, ["extend:3", "good"])

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 2}, what="all is worked")

    assert [line.attempt for line in ledger.lines("start")] == [1, 1]
    assert program.events("worker.hung") == []
    assert [slot.restarts for slot in program.slots()] == [0]
    assert program.terminate() == 0
