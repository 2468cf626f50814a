"""A burst of failures: the group holds before the dead-letter topic fills, says so once, and goes on when told."""

from supervisor.core.snapshot import FloodSnapshot
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, produce, read_topic
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger, out_of_order
from tests.whole.program import Program

PARTITIONS = 4
OPTIONS = """
workers = 2
concurrency = 4
ordering = "key"
retry.attempts = 1
flood.ratio = 0.05
flood.min_records = 200
flood.consecutive = "off"
flood.resume_after = "manual"
"""


def flood(program: Program) -> FloodSnapshot | None:
    (group,) = program.control.status().groups
    return group.flood


def failing_every_tenth(count: int) -> list[str]:
    return ["raise" if at % 40 < 4 else "needs:on" for at in range(count)]  # four keys of forty


def test_p1_p2_one_record_in_ten_fails_and_the_group_holds_until_an_operator_says_go_on(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic, partitions=PARTITIONS)
    ledger.open_gate("on")
    values = failing_every_tenth(4000)
    program = supervise(broker, OPTIONS)
    program.wait(lambda: program.shared_out(PARTITIONS), what="both have partitions")

    produce(broker.bootstrap, name, values, partition=lambda at: at % PARTITIONS, key=lambda at: b"k%d" % (at % 40))
    program.wait(lambda: flood(program) is not None, what="the guard tripped")
    program.wait(lambda: all(slot.stats and slot.stats.waits == "flood" for slot in program.slots()), what="all hold")
    written = len(read_topic(broker.bootstrap, f"{name}.dlq"))
    done = len(ledger.lines("done"))
    shown = program.cli("status").stdout
    resumed = program.cli("resume", name)
    ends = end_offsets(broker.bootstrap, name)
    program.wait(lambda: committed(broker.bootstrap, name, name) == ends, 60, what="all is committed")

    assert resumed.returncode == 0
    assert "flood: " in shown
    assert f"supervisor resume {name}" in shown
    assert written < 400
    assert done < 3600
    assert len(program.events("flood.tripped")) == len(program.events("flood.resumed")) == 1
    letters = {letter.header["supervisor.dlq.audit-id"] for letter in read_topic(broker.bootstrap, f"{name}.dlq")}
    assert len(letters) == 400, "every one of them in the end, by the operator's word"
    assert len(ledger.places()) == 3600
    assert out_of_order(ledger.lines("done"), by_key=True) == []


def test_by_default_a_hundred_dead_letters_in_a_row_hold_the_group_and_it_tries_again_by_itself(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic)
    produce(broker.bootstrap, name, ["raise"] * 104 + ["good"] * 50)
    program = supervise(broker, 'retry.attempts = 1\nflood.resume_after = "1s"')

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 154}, 60, what="all is committed")

    assert len(program.events("flood.tripped")) == len(program.events("flood.resumed")) == 1
    assert len(read_topic(broker.bootstrap, f"{name}.dlq")) == 104
    assert ledger.offsets(0) == list(range(104, 154))
