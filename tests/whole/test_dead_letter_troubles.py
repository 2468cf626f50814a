"""Dead letters that cannot be written: nothing is lost, people are told once, and it goes on by itself."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.conftest import Scale
from tests.whole.conftest import Supervise
from tests.whole.hook import Hook
from tests.whole.ledger import Ledger
from tests.whole.program import Program

OPTIONS = """
retry.attempts = 1
concurrency = 4
ordering = "key"
dead_letters.timeout = "2s"
"""
ALERTS = 'alerts = ["alert_webhook"]'
DELIVERIES = pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])


def alerts_to(hook: Hook) -> str:
    return f'[plugins.alert_webhook]\nurl = "{hook.url}"\n'


def configure(broker: RealBroker, topic: str, **settings: str) -> None:
    """Set a topic's settings; ``_`` stands for the dots of a key."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    source, operation = ConfigSource.DYNAMIC_TOPIC_CONFIG, AlterConfigOpType.SET
    entries = [
        ConfigEntry(key.replace("_", "."), value, source=source, incremental_operation=operation)
        for key, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(10)


def committed_by_now(broker: RealBroker, name: str) -> dict[int, int]:
    """Return what is committed; nothing while a transaction is open that the broker's end interrupted."""
    with contextlib.suppress(KafkaException):
        return committed(broker.bootstrap, name, name)
    return {}


def letters_at(broker: RealBroker, name: str) -> set[str]:
    return {letter.header["supervisor.dlq.audit-id"] for letter in read_topic(broker.bootstrap, f"{name}.dlq")}


def told_once(program: Program, hook: Hook, name: str) -> str:
    """Return the text of the one event, which was the one alert."""
    (event,) = program.events("dead_letter.unwritten")
    assert [alert["text"] for alert in hook.of("dead_letter.unwritten")] == [event.text]
    assert event.group == name
    assert not program.events("worker.exited")
    return event.text


@DELIVERIES
def test_p1_p7_a_topic_that_is_missing_and_is_not_to_be_made(
    broker: RealBroker, name: str, supervise: Supervise, hook: Hook, delivery: str
) -> None:
    create_topic(broker.bootstrap, name)
    produce(
        broker.bootstrap, name, ["invalid" if at % 4 == 1 else "good" for at in range(40)], key=lambda at: b"%d" % at
    )
    options = f'{OPTIONS}dead_letters.create = false\ndelivery = "{delivery}"'
    program = supervise(broker, options, supervisor=ALERTS, more=alerts_to(hook))

    program.wait(lambda: hook.of("dead_letter.unwritten"), what="people are told")
    assert committed(broker.bootstrap, name, name).get(0, 0) <= 1
    create_topic(broker.bootstrap, f"{name}.dlq")

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 40}, 60, what="all is committed")
    assert letters_at(broker, name) == {f"{name}/{name}/0/{at}" for at in range(1, 40, 4)}
    program.wait(lambda: program.events("dead_letter.recovered"), what="it is said to be over")
    assert "the topic is not there" in told_once(program, hook, name)
    assert program.terminate() == 0


@DELIVERIES
def test_p1_p7_a_topic_that_takes_less_than_the_record(
    broker: RealBroker, name: str, supervise: Supervise, hook: Hook, rng: Random, delivery: str
) -> None:
    """The small one is trimmed and written; the large one waits, and people are told why."""
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.dlq", config={"max.message.bytes": "1000"})
    values = ["invalid:" + rng.randbytes(size).hex() for size in (300, 2500, 10)]  # which do not shrink to nothing
    produce(broker.bootstrap, name, values, key=lambda at: b"%d" % at)
    options = f'{OPTIONS}delivery = "{delivery}"'
    program = supervise(broker, options, supervisor=ALERTS, more=alerts_to(hook))

    program.wait(lambda: hook.of("dead_letter.unwritten"), 30, what="people are told")
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 1}, what="the first is written")
    written = {len(letter.value or b""): letter for letter in read_topic(broker.bootstrap, f"{name}.dlq")}
    assert "supervisor.dlq.exception-stack" not in written[608].header
    configure(broker, f"{name}.dlq", max_message_bytes="20000")

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3}, 60, what="all is committed")
    assert letters_at(broker, name) == {f"{name}/{name}/0/{at}" for at in range(3)}
    assert "the record itself is too large for it" in told_once(program, hook, name)
    assert program.terminate() == 0


def test_p1_p3_a_broker_that_is_away_while_letters_are_due_leaves_them_in_the_spool(
    own_broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, scale: Scale
) -> None:
    create_topic(own_broker.bootstrap, name)
    create_topic(own_broker.bootstrap, f"{name}.dlq")
    produce(own_broker.bootstrap, name, ["gate:open", *["invalid", "good"] * 10], key=lambda at: b"%d" % at)
    program = supervise(
        own_broker, f'{OPTIONS}dead_letters.fallback = "dlq_file"\nretry.permanent = ["work:InvalidError"]'
    )
    program.wait(lambda: ledger.lines("start"), what="it works")

    own_broker.stop()
    (ledger.folder / "open").touch()
    program.wait(lambda: len(spooled(program.folder)) == 10, 40, what="the letters are in the spool")
    time.sleep(scale.pick(0.0, 60.0))
    own_broker.start()

    program.wait(lambda: committed(own_broker.bootstrap, name, name) == {0: 21}, 60, what="all is committed")
    wanted = {f"{name}/{name}/0/{at}" for at in range(1, 21, 2)}
    assert spooled(program.folder) | letters_at(own_broker, name) == wanted
    program.wait(lambda: not spooled(program.folder), 90, what="the spool is drained by itself")
    assert letters_at(own_broker, name) == wanted
    assert ledger.places() == {(0, at) for at in range(0, 21, 2)}
    assert not program.events("dead_letter.unwritten")
    assert not program.events("worker.exited")
    assert program.terminate() == 0


@pytest.mark.parametrize(
    ("delivery", "told"),
    [("at-least-once", "no sink takes the dead letter"), ("exactly-once", "no broker can be reached")],
)
def test_p1_p3_p7_without_a_spool_letters_wait_for_a_broker_that_is_away_and_people_are_told_once(
    own_broker: RealBroker,
    name: str,
    supervise: Supervise,
    ledger: Ledger,
    hook: Hook,
    scale: Scale,
    delivery: str,
    told: str,
) -> None:
    """In transactions nothing is wrong with the letters: it is all that waits."""
    create_topic(own_broker.bootstrap, name)
    create_topic(own_broker.bootstrap, f"{name}.dlq")
    produce(own_broker.bootstrap, name, ["gate:open", *["invalid", "good"] * 10], key=lambda at: b"%d" % at)
    options = f'{OPTIONS}delivery = "{delivery}"\n'
    more = alerts_to(hook) + '[alerting.conditions]\nbroker_unreachable.after = "5s"\n'
    program = supervise(own_broker, options, supervisor=ALERTS, more=more)
    program.wait(lambda: ledger.lines("start"), what="it works")

    def of(words: str) -> list[str]:
        return [alert["text"] for alert in hook.taken if words in alert["text"]]

    own_broker.stop()
    (ledger.folder / "open").touch()
    program.wait(lambda: of(told), 60, what="people are told")
    time.sleep(scale.pick(0.0, 60.0))
    own_broker.start()

    program.wait(lambda: committed_by_now(own_broker, name) == {0: 21}, 90, what="all is committed")
    assert letters_at(own_broker, name) == {f"{name}/{name}/0/{at}" for at in range(1, 21, 2)}
    assert ledger.places() == {(0, at) for at in range(0, 21, 2)}
    assert len(of(told)) == 1
    assert not program.events("worker.exited")
    assert program.terminate() == 0


def spooled(folder: Path) -> set[str]:
    """Return the audit ids of all letters in files."""
    files = (folder / "state" / "dead-letters").rglob("*.jsonl")
    return {json.loads(line)["audit_id"] for file in files for line in file.read_bytes().splitlines()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["/bin/umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a file system; return the file that takes it all."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def test_p1_p7_a_topic_that_is_missing_and_a_full_disk_under_the_spool(
    broker: RealBroker, name: str, supervise: Supervise, hook: Hook, small_disk: Path
) -> None:
    ballast = fill(small_disk)
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["invalid", "good"] * 5, key=lambda at: b"%d" % at)
    options = f'{OPTIONS}dead_letters.create = false\ndead_letters.fallback = "dlq_file"'
    more = f'{alerts_to(hook)}\n[plugins.dlq_file]\ndirectory = "{small_disk}"\n'
    program = supervise(broker, options, supervisor=ALERTS, more=more)
    wanted = {f"{name}/{name}/0/{at}" for at in range(0, 10, 2)}

    program.wait(lambda: hook.of("dead_letter.unwritten"), what="people are told")
    assert committed(broker.bootstrap, name, name).get(0, 0) == 0
    os.truncate(ballast, 0)
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 10}, 60, what="all is committed")
    spool = small_disk / name / "0.jsonl"
    assert {json.loads(line)["audit_id"] for line in spool.read_bytes().splitlines()} == wanted
    create_topic(broker.bootstrap, f"{name}.dlq")
    program.wait(lambda: not spool.exists(), 90, what="the spool is drained by itself")

    assert letters_at(broker, name) == wanted
    text = told_once(program, hook, name)
    assert "the topic is not there" in text
    assert "ENOSPC" in text
    assert program.terminate() == 0


@pytest.mark.parametrize("sink", ["dlq_file", "dlq_sqlite"])
def test_p1_p7_a_full_disk(
    broker: RealBroker, name: str, supervise: Supervise, hook: Hook, small_disk: Path, sink: str
) -> None:
    ballast = fill(small_disk)
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["invalid", "good", "invalid"], key=lambda at: b"%d" % at)
    options = f'{OPTIONS}dead_letters.sink = "{sink}"'
    more = f'{alerts_to(hook)}\n[plugins.{sink}]\ndirectory = "{small_disk}"\n'
    program = supervise(broker, options, supervisor=ALERTS, more=more)

    program.wait(lambda: hook.of("dead_letter.unwritten"), what="people are told")
    assert committed(broker.bootstrap, name, name).get(0, 0) == 0
    os.truncate(ballast, 0)

    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3}, 60, what="all is committed")
    text = told_once(program, hook, name)
    assert "ENOSPC" in text or "SQLITE_FULL" in text or "SQLITE_IOERR" in text
    assert program.terminate() == 0
    if sink == "dlq_file":
        kept = [json.loads(line)["audit_id"] for line in (small_disk / name / "0.jsonl").read_bytes().splitlines()]
        assert sorted(kept) == [f"{name}/{name}/0/{at}" for at in (0, 2)]
