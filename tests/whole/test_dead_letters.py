"""Failing records on their way through the whole supervisor: retries, dead letters, the fallback, alerts."""

import json
from base64 import b64decode

from supervisor.core.snapshot import SlotState
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.whole.conftest import Supervise
from tests.whole.hook import Hook
from tests.whole.ledger import Ledger

RETRY = """
workers = 2
retry.attempts = 3
retry.initial = "50ms"
retry.max = "100ms"
retry.permanent = ["work:InvalidError"]
"""


def test_p1_p7_failing_records_become_dead_letters_after_their_attempts_and_block_only_their_partition(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    values = ["good", "raise", "good", "invalid", "good"]
    produce(broker.bootstrap, name, values, partition=lambda _: 0, key=lambda at: b"key-%d" % at)
    produce(broker.bootstrap, name, ["good"] * 5, partition=lambda _: 1)
    program = supervise(broker, RETRY)

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 5, 1: 5}, what="all is committed")

    tries = [line.attempt for line in ledger.lines("start") if line.place == (0, 1)]
    assert tries == [1, 2, 3]
    assert [line.attempt for line in ledger.lines("start") if line.place == (0, 3)] == [1], "a permanent error"
    assert ledger.offsets(0) == [0, 2, 4]
    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    assert [(letter.partition, letter.key, letter.value) for letter in letters] == [
        (0, b"key-1", b"raise"),
        (0, b"key-3", b"invalid"),
    ]
    assert [letter.header["supervisor.dlq.attempts"] for letter in letters] == ["3", "1"]
    assert [letter.header["supervisor.dlq.offset"] for letter in letters] == ["1", "3"]
    assert len(program.events("record.dead_lettered")) == 2
    assert program.terminate() == 0
    log = program.log.read_text()
    assert "as told" not in log, "an error's text may hold what the record held (P10)"


def test_a_dead_letter_topic_that_is_not_there_is_made_as_its_source_is(
    broker: RealBroker, name: str, supervise: Supervise
) -> None:
    create_topic(broker.bootstrap, name, partitions=3)
    produce(broker.bootstrap, name, ["good", "invalid", "invalid"], partition=lambda at: at)

    program = supervise(broker, RETRY)

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 1, 1: 1, 2: 1}, what="all is committed")
    assert [letter.partition for letter in read_topic(broker.bootstrap, f"{name}.dlq")] == [1, 2]
    assert len(program.events("dead_letter.topic_made")) == 1
    assert not program.events("dead_letter.unwritten")
    assert program.terminate() == 0


def test_p1_p7_a_dead_letter_topic_that_is_not_there_is_what_the_fallback_is_for(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good", "invalid", "good"])
    letters = 'dead_letters = { fallback = "dlq_file", timeout = "1s", create = false }'
    program = supervise(broker, RETRY + letters)

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3}, what="all is committed")

    assert ledger.offsets(0) == [0, 2]
    files = list((program.folder / "state" / "dead-letters").rglob("*.jsonl"))
    kept = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [(letter["source"]["offset"], b64decode(letter["value"])) for letter in kept] == [(1, b"invalid")]
    assert program.terminate() == 0


def test_p1_p7_p8_a_death_and_a_dead_letter_nobody_takes_are_alerts_and_nothing_is_lost(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, hook: Hook
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["good", "invalid", "good"], partition=lambda _: 0)
    produce(broker.bootstrap, name, ["good"] * 3, partition=lambda _: 1)
    program = supervise(
        broker,
        RETRY + 'dead_letters = { timeout = "1s", create = false }',
        supervisor='alerts = ["alert_log", "alert_webhook"]',
        more=f'[plugins.alert_webhook]\nurl = "{hook.url}"\n',
    )

    # The letter cannot be written: its partition stands, is seen to, and the other one goes on.
    program.wait(lambda: hook.of("dead_letter.unwritten"), what="the alert comes")
    program.wait(lambda: committed(broker.bootstrap, name, name).get(1) == 3, what="the other partition goes on")
    alert = hook.of("dead_letter.unwritten")[0]
    assert (alert["severity"], alert["group"]) == ("critical", name)
    assert alert["fields"]["audit_id"] == f"{name}/{name}/0/1"
    assert committed(broker.bootstrap, name, name)[0] == 1
    assert ledger.offsets(0) == [0]

    # A death is an alert, once.
    owner = program.wait(program.owners, what="partition 0 has an owner")[0]
    pid = program.kill_worker(owner.slot)
    program.wait(lambda: hook.of("worker.exited"), what="the alert comes")
    death = hook.of("worker.exited")[0]
    assert (death["slot"], death["fields"]["pid"], death["fields"]["status"]) == (owner.slot, pid, -9)
    assert "SIGKILL" in death["text"]

    # The topic is made: the letter goes out, the partition goes on.
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3, 1: 3}, 30, what="all is committed")
    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    assert {letter.header["supervisor.dlq.offset"] for letter in letters} == {"1"}
    assert ledger.places() == {(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)}
    assert {slot.state for slot in program.slots()} == {SlotState.RUNNING}
    assert program.terminate() == 0
    assert len(hook.of("worker.exited")) == 1, "a stop that was asked for is no alert"
