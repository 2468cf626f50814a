"""``supervisor run --until-end``: to the ends of its start, whatever happens on the way, and then no further."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from supervisor.kafka.embedded import EmbeddedBroker
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger

UNTIL = ("--until-end",)


def _all_done(broker: RealBroker, name: str) -> bool:
    done = committed(broker.bootstrap, name, name)
    return all(done.get(partition, 0) >= end for partition, end in end_offsets(broker.bootstrap, name).items())


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_backfill_ends_when_all_is_committed_with_more_workers_than_partitions(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, protocol: str
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["good"] * 400, partition=lambda at: at % 2)
    kafka = '"heartbeat.interval.ms" = 300' if protocol == "classic" else ""

    program = supervise(broker, f'workers = 3\nprotocol = "{protocol}"', arguments=UNTIL, kafka=kafka)

    assert program.ended(60) == 0
    assert len(ledger.places()) == 400
    assert ledger.repeats() == 0
    assert _all_done(broker, name)
    assert program.logged("until_end.progress", "done=400 of=400", "left=0")


def test_p3_a_worker_killed_on_the_way_neither_ends_the_run_early_nor_hangs_it(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["sleep:0.01"] * 400, partition=lambda at: at % 2)
    program = supervise(broker, "workers = 2", arguments=UNTIL)
    program.wait(lambda: len(ledger.places()) > 20)
    program.kill_worker(0)
    program.wait(lambda: len(ledger.places()) > 60)
    program.kill_worker(1)

    assert program.ended(60) == 0
    assert len(ledger.places()) == 400
    assert _all_done(broker, name)


def test_the_child_that_knows_may_die_too(broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good", "gate:open", "good"])
    program = supervise(broker, arguments=UNTIL)
    program.wait(lambda: len(ledger.places()) == 1)
    (child,) = program.wait(lambda: _children(program.pids(), "supervisor.inspector.ends"))
    produce(broker.bootstrap, name, ["late"])  # a child that noted the ends anew would wait for this one, too
    _kill(child)
    program.wait(lambda: program.logged("ends.exited"))
    ledger.open_gate("open")

    assert program.ended(60) == 0
    assert ledger.places() >= {(0, 0), (0, 1), (0, 2)}


def test_an_empty_topic_ends_at_once_and_starts_nobody(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=3)

    program = supervise(broker, "workers = 2", arguments=UNTIL)

    assert program.ended(30) == 0
    assert not program.logged("slot.started")


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_transactional_topic_is_done_behind_its_last_control_record(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, end: str
) -> None:
    create_topic(broker.bootstrap, name)
    _transact(broker, name, "commit")
    first = supervise(broker, arguments=UNTIL)
    assert first.ended(60) == 0
    assert committed(broker.bootstrap, name, name) == {0: 6}

    _transact(broker, name, end)  # aborted: nothing will be delivered, and yet there is something to pass
    again = supervise(broker, arguments=UNTIL, folder="b")

    assert again.ended(60) == 0
    assert committed(broker.bootstrap, name, name) == {0: 12}
    assert len(ledger.places()) == (10 if end == "commit" else 5)


def test_what_another_host_commits_counts(broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["gate:open"] * 2, partition=lambda at: at)
    other = supervise(broker, called="b", folder="b")
    other.wait(lambda: len(ledger.lines("start")) >= 1)
    program = supervise(broker, arguments=UNTIL)
    program.wait(lambda: program.logged("until_end.progress"))
    ledger.open_gate("open")

    assert program.ended(60) == 0
    assert _all_done(broker, name)
    assert other.terminate() == 0


def test_records_that_come_later_are_not_waited_for(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["gate:open"])
    program = supervise(broker, arguments=UNTIL)
    program.wait(lambda: ledger.lines("start"))
    produce(broker.bootstrap, name, ["sleep:600"])
    ledger.open_gate("open")

    program.wait(lambda: program.logged("supervisor.stopping", "every end is reached"))
    program.close()


def test_only_the_named_groups_are_run(broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger) -> None:
    for topic in (name, f"{name}-2"):
        create_topic(broker.bootstrap, topic)
        produce(broker.bootstrap, topic, ["good"])
    more = f'\n[groups."{name}-2"]\ntopics = ["{name}-2"]\nhandler = "work:Work"\n'

    program = supervise(broker, arguments=(*UNTIL, f"{name}-2"), more=more)

    assert program.ended(60) == 0
    assert {line.topic for line in ledger.lines("done")} == {f"{name}-2"}
    wrong = program.cli("run", "--until-end", "nobody")
    assert (wrong.returncode, "no group that is enabled is called 'nobody'" in wrong.stderr) == (2, True)
    assert program.cli("run", name).returncode == 2


Prepare = Callable[[RealBroker, str], None]


def _no_topic(broker: RealBroker, name: str) -> None:
    pass


def _blocked_sink(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good", "raise"])


def _gone(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good"] * 10)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    place = TopicPartition(name, 0, 5)
    admin.delete_records([place])[place].result(10)
    consumer_commit(broker, name, 3)


def consumer_commit(broker: RealBroker, name: str, offset: int) -> None:
    writer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, "log_level": 0})
    writer.commit(offsets=[TopicPartition(name, 0, offset)], asynchronous=False)
    writer.close()


@pytest.mark.parametrize(
    ("prepare", "options", "words"),
    [
        (_no_topic, "", "does not exist"),
        (
            _blocked_sink,
            "retry.attempts = 1\ndead_letters.topic = '{topic}.nowhere'\ndead_letters.create = false",
            "at 1 of 2; workers wait: ",
        ),
        (_gone, "", "is stopped: its offsets are out of range"),
    ],
    ids=["no topic", "blocked sink", "out of range"],
)
def test_what_cannot_be_reached_ends_with_1_and_says_why(
    broker: RealBroker, name: str, supervise: Supervise, prepare: Prepare, options: str, words: str
) -> None:
    prepare(broker, name)

    program = supervise(broker, options, arguments=(*UNTIL, "--patience", "6s"))

    assert program.ended(60) == 1
    assert program.logged("until_end.missed", words)


def test_a_slot_that_is_given_up_makes_the_run_fail(broker: RealBroker, name: str, supervise: Supervise) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good"])

    program = supervise(broker, handler="Broken", arguments=UNTIL)

    assert program.ended(60) in (1, 78)


def test_a_stop_before_the_end_is_no_success(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good", "gate:never"])
    program = supervise(broker, arguments=UNTIL, supervisor='stop_timeout = "1s"')
    program.wait(lambda: program.logged("until_end.progress", "done=1"), 30)

    assert program.terminate(40) == 1
    assert program.logged("stopped before the ends were reached", f"{name}/0 at 1 of 2")


def test_it_works_on_the_embedded_broker(name: str, supervise: Supervise, ledger: Ledger) -> None:
    with EmbeddedBroker({name: 2}) as broker:
        produce(broker.bootstrap, name, ["good"] * 50, partition=lambda at: at % 2)

        program = supervise(broker, 'workers = 2\nprotocol = "consumer"', arguments=UNTIL, kafka="")

        assert program.ended(60) == 0
        assert len(ledger.places()) == 50


def _transact(broker: RealBroker, topic: str, end: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    for _ in range(5):
        producer.produce(topic, b"good", partition=0)
    producer.flush(20)
    (producer.commit_transaction if end == "commit" else producer.abort_transaction)(20)


def _children(pids: list[int], module: str) -> list[int]:
    return [pid for pid in pids if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
