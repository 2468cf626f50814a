"""What happens without a right: ``supervisor check`` names it, a worker that loses it is given up, not looped.

A broker with Kafka's own authorizer: whoever comes through its plain listener may do everything, and users come
through the other one, each with the rights its test gives.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from supervisor.control.client import ControlClient, ControlError
from supervisor.core.events import Event
from supervisor.core.exits import ExitCode
from supervisor.core.snapshot import SlotSnapshot
from tests.broker import real
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.waiting import wait_until

Acl = TypeVar("Acl", AclBinding, AclBindingFilter)

PASSWORD = "hunter2hunter2"
USERS = ("bare", "reader", "nogroup", "blind", "stranger", "grouped", "topical", "resetter", "atleast", "exactly")

CONFIG = """
[supervisor]
runtime_dir = "run"

[kafka]
"bootstrap.servers" = "{bootstrap}"
"security.protocol" = "sasl_plaintext"
"sasl.mechanisms" = "PLAIN"
"sasl.username" = "{user}"
"sasl.password" = "{password}"

[groups.{user}]
topics = ["{user}"]
handler = "handlers:process"
commit.interval = "100ms"
"""


@dataclass(frozen=True, slots=True)
class Secured:
    """A broker where each user has a topic and its dead letters: ``bootstrap`` is for users, ``plain`` may do all."""

    bootstrap: str
    plain: str

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.plain, "log_level": 0})

    def allow(self, user: str, operation: AclOperation, *, topic: str = "", group: str = "") -> None:
        acl = _acl(AclBinding, user, operation, topic, group)
        admin = self.admin  # kept until the answer is there
        admin.create_acls([acl])[acl].result(10)

    def deny(self, user: str, operation: AclOperation, *, topic: str = "", group: str = "") -> None:
        """Take a right back."""
        acl = _acl(AclBindingFilter, user, operation, topic, group)
        admin = self.admin
        assert admin.delete_acls([acl])[acl].result(10)

    def allow_transactions(self, user: str) -> None:
        kind, literal, allow = ResourceType.TRANSACTIONAL_ID, ResourcePatternType.LITERAL, AclPermissionType.ALLOW
        acl = AclBinding(kind, "*", literal, f"User:{user}", "*", AclOperation.WRITE, allow)
        admin = self.admin
        admin.create_acls([acl])[acl].result(10)

    def allow_all(self, user: str) -> None:
        self.allow(user, AclOperation.READ, topic=user)
        self.allow(user, AclOperation.WRITE, topic=f"{user}.dlq")
        self.allow(user, AclOperation.READ, group=user)


def _acl(make: Callable[..., Acl], user: str, operation: AclOperation, topic: str, group: str) -> Acl:
    kind = ResourceType.TOPIC if topic else ResourceType.GROUP
    literal, allow = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    return make(kind, topic or group, literal, f"User:{user}", "*", operation, allow)


@pytest.fixture(scope="module")
def broker() -> Iterator[Secured]:
    """Start this module's own broker, with the authorizer."""
    lack = real.missing()
    if lack is not None:
        pytest.skip(lack)
    running = RealBroker()
    (port,) = real.free_ports(1)
    plain, users = f"PLAINTEXT://127.0.0.1:{running.port}", f"SASL_PLAINTEXT://127.0.0.1:{port}"
    passwords = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
    login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    settings = {
        "listeners": f"{plain},{users},CONTROLLER://127.0.0.1:{running.controller_port}",
        "advertised.listeners": f"{plain},{users}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{login} required {passwords};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    running.override(settings)
    with running:
        for user in USERS:
            create_topic(running.bootstrap, user)
            create_topic(running.bootstrap, f"{user}.dlq")
        yield Secured(f"127.0.0.1:{port}", running.bootstrap)


class User:
    """A person with a project whose group and topic are called as the user, at the command line."""

    def __init__(self, folder: Path, broker: Secured, user: str, *, options: str = "", handler: str = "...") -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "handlers.py").write_text(f"def process(record):\n    {handler}\n")
        text = CONFIG.format(bootstrap=broker.bootstrap, user=user, password=PASSWORD) + options
        (folder / "supervisor.toml").write_text(text)
        (folder / "supervisor.toml").chmod(0o600)

    def check(self) -> str:
        """Run ``supervisor check``, which must find something wrong; return its errors with their help."""
        command = [sys.executable, "-m", "supervisor", "check"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return "\n".join(re.findall(r"^error.*\n +help: .*$", done.stdout, re.MULTILINE))

    def run(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "supervisor", "run"]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def events(self, name: str) -> list[Event]:
        try:
            entries = ControlClient(self.folder / "run" / "control.sock").events().entries
        except ControlError:
            return []
        return [entry.event for entry in entries if entry.event.name == name]

    def slot(self) -> SlotSnapshot | None:
        try:
            return ControlClient(self.folder / "run" / "control.sock").status().groups[0].slots[0]
        except ControlError:
            return None


def test_a_dead_letter_topic_that_may_not_be_written_is_found(tmp_path: Path, broker: Secured) -> None:
    broker.allow("reader", AclOperation.READ, topic="reader")
    broker.allow("reader", AclOperation.DESCRIBE, topic="reader.dlq")
    broker.allow("reader", AclOperation.READ, group="reader")

    found = User(tmp_path, broker, "reader").check()

    assert found.count("error") == 1
    assert "no right to WRITE dead-letter topic 'reader.dlq': a record that fails for good would block" in found
    acls = f"help: kafka-acls --bootstrap-server {broker.bootstrap} --command-config FILE --add"
    assert f"{acls} --allow-principal User:NAME --operation Write --topic reader.dlq" in found


def test_a_group_that_may_not_be_joined_is_found(tmp_path: Path, broker: Secured) -> None:
    broker.allow("nogroup", AclOperation.READ, topic="nogroup")
    broker.allow("nogroup", AclOperation.WRITE, topic="nogroup.dlq")

    unseen = User(tmp_path, broker, "nogroup").check()
    broker.allow("nogroup", AclOperation.DESCRIBE, group="nogroup")
    seen = User(tmp_path, broker, "nogroup").check()

    assert "consumer group 'nogroup' cannot be looked at: GROUP_AUTHORIZATION_FAILED" in unseen
    assert "no right to READ consumer group 'nogroup'" in seen
    for found in (unseen, seen):
        assert found.count("error") == 1
        assert "--operation Read --group nogroup" in found


def test_a_topic_that_may_not_be_read_is_found(tmp_path: Path, broker: Secured) -> None:
    broker.allow("blind", AclOperation.DESCRIBE, topic="blind")
    broker.allow("blind", AclOperation.WRITE, topic="blind.dlq")
    broker.allow("blind", AclOperation.READ, group="blind")

    found = User(tmp_path, broker, "blind").check()

    assert found.count("error") == 1
    assert "no right to READ topic 'blind'" in found
    assert "--operation Read --topic blind" in found


def test_without_any_right_everything_is_named_at_once(tmp_path: Path, broker: Secured) -> None:
    found = User(tmp_path, broker, "bare").check()

    assert found.count("error") == 3
    assert "topic 'bare' cannot be looked at: TOPIC_AUTHORIZATION_FAILED" in found
    assert "dead-letter topic 'bare.dlq' cannot be looked at: TOPIC_AUTHORIZATION_FAILED" in found
    assert "consumer group 'bare' cannot be looked at: GROUP_AUTHORIZATION_FAILED" in found


def given_up(person: User, lose: Callable[[], None] | None = None) -> str:
    """Run the user's project until it ends, taking a right away once its worker has joined; return the log."""
    running = person.run()
    try:
        if lose is not None:
            wait_until(lambda: (slot := person.slot()) is not None and slot.joined, 20, otherwise="no worker joined")
            lose()
        wait_until(lambda: running.poll() is not None, 20, otherwise="the supervisor goes on", every=0.05)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait(10)
    log = person.log.read_text()
    assert running.returncode == ExitCode.FAILURE, log
    assert len(re.findall(r"slot\.started .*mode=work", log)) == 1, f"it was started again\n{log}"
    assert "exit code 78 (config)" in log
    assert PASSWORD not in log
    return log[log.rindex("supervisor: every group was given up") :]


def test_a_worker_without_the_right_to_its_group_is_given_up_at_once(tmp_path: Path, broker: Secured) -> None:
    broker.allow("stranger", AclOperation.READ, topic="stranger")

    reason = given_up(User(tmp_path, broker, "stranger"))

    assert "stranger/0: wrong configuration" in reason
    assert "GROUP_AUTHORIZATION_FAILED" in reason


def test_a_worker_that_loses_the_right_to_its_group_is_given_up_at_its_next_commit(
    tmp_path: Path, broker: Secured
) -> None:
    broker.allow_all("grouped")

    def lose() -> None:
        broker.deny("grouped", AclOperation.READ, group="grouped")
        produce(broker.plain, "grouped", ["x"])

    reason = given_up(User(tmp_path, broker, "grouped"), lose)

    assert "grouped/0: wrong configuration" in reason
    assert "commit: GROUP_AUTHORIZATION_FAILED: not allowed for this group or topic" in reason


def test_a_worker_that_loses_the_right_to_its_topic_is_given_up(tmp_path: Path, broker: Secured) -> None:
    broker.allow_all("topical")

    reason = given_up(
        User(tmp_path, broker, "topical"), lambda: broker.deny("topical", AclOperation.READ, topic="topical")
    )

    assert "topical/0: wrong configuration" in reason
    assert "TOPIC_AUTHORIZATION_FAILED" in reason


@pytest.mark.parametrize(("user", "delivery"), [("atleast", "at-least-once"), ("exactly", "exactly-once")])
def test_p1_p7_dead_letters_that_may_not_be_written_wait_for_the_right_and_nothing_else_does(
    tmp_path: Path, broker: Secured, user: str, delivery: str
) -> None:
    broker.allow(user, AclOperation.READ, topic=user)
    broker.allow(user, AclOperation.READ, group=user)
    broker.allow_transactions(user)
    broker.allow(user, AclOperation.DESCRIBE, topic=f"{user}.dlq")
    produce(broker.plain, user, ["good", "bad", "good"])
    options = f'retry.attempts = 1\ndelivery = "{delivery}"\ndead_letters.timeout = "2s"\n'
    person = User(tmp_path, broker, user, options=options, handler='assert record.value != b"bad"')
    running = person.run()

    try:
        wait_until(lambda: person.events("dead_letter.unwritten"), 40, otherwise="nobody was told")
        wait_until(lambda: committed(broker.plain, user, user) == {0: 1}, 20, otherwise="the good one is not committed")
        broker.allow(user, AclOperation.WRITE, topic=f"{user}.dlq")
        wait_until(lambda: committed(broker.plain, user, user) == {0: 3}, 60, otherwise="it does not go on")
        (told,) = person.events("dead_letter.unwritten")
        assert "no right to write" in told.text
        assert person.events("dead_letter.recovered")
        assert not person.events("worker.exited")
    finally:
        running.terminate()
        running.wait(20)
    assert {letter.header["supervisor.dlq.offset"] for letter in read_topic(broker.plain, f"{user}.dlq")} == {"1"}


def test_a_reset_that_may_not_set_every_partition_says_which_it_set_and_does_not_try_for_long(
    tmp_path: Path, broker: Secured
) -> None:
    broker.allow("resetter", AclOperation.READ, group="resetter")
    broker.allow("resetter", AclOperation.READ, topic="resetter")
    broker.allow("resetter", AclOperation.DESCRIBE, topic="resetter.dlq")
    User(tmp_path, broker, "resetter")
    file = tmp_path / "supervisor.toml"
    both = 'topics = ["resetter", "resetter.dlq"]\ndead_letters.topic = "{topic}.dead"'
    file.write_text(file.read_text().replace('topics = ["resetter"]', both))
    produce(broker.plain, "resetter", ["x"] * 3)
    assert committed(broker.plain, "resetter", "resetter") == {}, "asked until the coordinator answers"

    command = [sys.executable, "-m", "supervisor", "offsets", "reset", "resetter", "--to", "latest", "--yes"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "not all was changed: group resetter: TOPIC_AUTHORIZATION_FAILED" in done.stderr
    assert "set: resetter/0; as before: resetter.dlq/0" in done.stderr
    assert committed(broker.plain, "resetter", "resetter") == {0: 3}
    assert committed(broker.plain, "resetter", "resetter.dlq") == {}
    print(f"refused after {time.monotonic() - began:.1f} s; a member that does not go is waited for 20 s")
