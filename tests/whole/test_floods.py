"""A burst of failures: the group holds before the dead-letter topic fills, says so once, and goes on when told."""

import pytest

from supervisor.core.snapshot import FloodSnapshot, SlotState
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, produce, read_topic
from tests.whole.conftest import Supervise
from tests.whole.hook import Hook
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


@pytest.mark.parametrize(
    ("limit", "action", "written"),
    [
        (
            'flood = { rate = "20/m", ratio = "off", consecutive = "off", resume_after = "manual", action = "pause" }',
            "resume",
            19,
        ),
        ('flood = { consecutive = 15, ratio = "off", action = "stop" }', "start", 14),
    ],
    ids=["rate, pause", "consecutive, stop"],
)
def test_p1_a_limit_holds_before_the_letter_that_would_reach_it_and_one_alert_lasts_until_an_operators_word(
    broker: RealBroker,
    name: str,
    supervise: Supervise,
    ledger: Ledger,
    hook: Hook,
    limit: str,
    action: str,
    written: int,
) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic)
    produce(broker.bootstrap, name, ["raise"] * 60 + ["good"] * 10, key=lambda at: b"%d" % at)
    alerts = f'[plugins.alert_webhook]\nurl = "{hook.url}"\n'
    program = supervise(
        broker, f"retry.attempts = 1\nconcurrency = 4\n{limit}", supervisor='alerts = ["alert_webhook"]', more=alerts
    )

    program.wait(lambda: hook.taken, what="people are told")
    if action == "start":
        program.wait(lambda: program.slot(0).state is SlotState.STOPPED, what="the group is stopped")
    else:
        program.wait(lambda: (stats := program.slot(0).stats) and stats.waits == "flood", what="it holds")
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: written}, what="what was written is committed")
    held = len(read_topic(broker.bootstrap, f"{name}.dlq"))
    done = program.cli(action, name)
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 70}, 60, what="all is committed")

    assert done.returncode == 0, done.stderr
    assert held == written
    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    assert {letter.header["supervisor.dlq.audit-id"] for letter in letters} == {
        f"{name}/{name}/0/{at}" for at in range(60)
    }
    assert ledger.offsets(0) == list(range(60, 70))
    assert len(program.events("flood.tripped")) == len(program.events("flood.resumed")) == 1
    assert len([alert for alert in hook.taken if alert["text"].startswith("flood: ")]) == 1


def test_what_fails_in_a_flood_is_dropped_counted_and_told_once_where_the_configuration_says_shed(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic)
    produce(broker.bootstrap, name, ["raise"] * 60 + ["good"] * 10)
    program = supervise(broker, 'retry.attempts = 1\nflood = { consecutive = 15, ratio = "off", action = "shed" }')

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 70}, 60, what="all is committed")
    program.wait(lambda: (stats := program.slot(0).stats) and stats.settled == 70, what="it is told")

    stats = program.slot(0).stats
    assert stats is not None
    assert (stats.dead_lettered, stats.dropped) == (14, 46)
    assert len(read_topic(broker.bootstrap, f"{name}.dlq")) == 14
    assert len(program.logged("record.shed", f"record={name}/0@")) == 46
    assert ledger.offsets(0) == list(range(60, 70))
    assert len(program.events("flood.tripped")) == 1
