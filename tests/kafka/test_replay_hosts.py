"""One replay begun on several hosts: brokers let only one of them have it, and whoever takes it over marks repeats."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from supervisor.core.dlq import DlqRequest, Replay, Verb
from supervisor.core.jsonable import to_json
from supervisor.kafka.claims import Claim, ClaimError
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, end_offsets, read_topic
from tests.kafka.letters import Folder, put, story
from tests.unit.test_jsonable import WORKER
from tests.waiting import wait_until

COUNT = 200


@pytest.fixture
def hosts(broker: RealBroker, name: str, tmp_path: Path) -> list[Folder]:
    """Return two projects that share nothing but the brokers; there are ``COUNT`` letters."""
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic, partitions=2)
    put(broker, f"{name}.dlq", [story(name, name, at % 2, at) for at in range(COUNT)], partition=lambda at: at % 2)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    return [Folder(folder, broker, name) for folder in folders]


def marks(broker: RealBroker, topic: str) -> dict[str, list[str | None]]:
    """Return for each letter the marks of its copies."""
    found: dict[str, list[str | None]] = {}
    for one in read_topic(broker.bootstrap, topic):
        again = one.header.get("supervisor.dlq.replay-again")
        found.setdefault(one.header["supervisor.dlq.replay-of"], []).append(again)
    return found


def begun(broker: RealBroker, name: str, host: Folder) -> "subprocess.Popen[bytes]":
    command = host.begin("replay", "--rate", "5/s")
    wait_until(lambda: sum(end_offsets(broker.bootstrap, name).values()) > 0, 60, every=0.05)
    return command


def test_p1_a_replay_that_is_under_way_on_another_host_is_refused_and_that_one_goes_on(
    broker: RealBroker, name: str, hosts: list[Folder]
) -> None:
    first, second = hosts
    command = begun(broker, name, first)

    refused = second.run("replay", code=1)
    listed = second.answer("stats", "--pending")
    dry = second.answer("replay", "--dry-run")
    command.send_signal(signal.SIGTERM)
    code = command.wait(60)
    done = second.answer("replay")

    assert "under way already" in refused.stderr
    assert f"{name}.replay.default" in refused.stderr
    assert 0 < listed["counts"]["read"] <= COUNT
    assert dry["counts"]["sent"] > 0
    assert code == 1, "told to stop"
    assert done["counts"]["sent"] > 0
    assert Counter(map(tuple, marks(broker, name).values())) == {(None,): COUNT}


def test_p1_a_replay_whose_host_is_gone_is_taken_over_and_what_it_may_have_sent_is_marked(
    broker: RealBroker, name: str, hosts: list[Folder]
) -> None:
    first, second = hosts
    command = begun(broker, name, first)
    child = first.child(command)

    child.kill()
    command.wait(60)
    done = second.answer("replay")

    assert done["error"] == ""
    copies = marks(broker, name)
    assert len(copies) == COUNT
    assert set(map(tuple, copies.values())) <= {(None,), ("1",), (None, "1")}


def test_p1_a_replay_that_was_frozen_for_so_long_that_another_host_has_it_sends_nothing_more(
    broker: RealBroker, name: str, hosts: list[Folder]
) -> None:
    group = replace(WORKER.group, name=name, topics=(name,), kafka={"bootstrap.servers": broker.bootstrap})
    request = DlqRequest(
        Verb.REPLAY, group, str(hosts[0].folder / "state"), os.getpid(), replay=Replay("default", rate=20.0)
    )
    program = [sys.executable, "-P", "-m", "supervisor.inspector.dlq"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(to_json(request)))
        child.stdin.close()
        wait_until(lambda: sum(end_offsets(broker.bootstrap, name).values()) > 0, 60, every=0.05)

        child.send_signal(signal.SIGSTOP)
        done = hosts[1].answer("replay")
        child.send_signal(signal.SIGCONT)
        assert child.stdout is not None
        answer = json.loads(child.stdout.read().splitlines()[-1])["answer"]

    assert done["error"] == ""
    assert "taken from us" in answer["error"]
    copies = marks(broker, name)
    assert len(copies) == COUNT
    assert [some for some in copies.values() if some.count(None) > 1] == [], "a second copy says so"


def test_p1_of_replays_that_begin_at_one_moment_just_one_sends_a_letter(
    broker: RealBroker, name: str, hosts: list[Folder]
) -> None:
    commands = [host.begin("replay", "--rate", "50/s") for host in hosts]

    codes = sorted(command.wait(100) for command in commands)

    texts = [(host.folder / "out").read_text() for host in hosts]
    assert codes[0] == 0, texts
    assert codes[1] == 0 or any("under way already" in text or "at the same moment" in text for text in texts), texts
    assert Counter(map(tuple, marks(broker, name).values())) == {(None,): COUNT}, texts


def test_a_claim_outlives_who_comes_and_goes_beside_it(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    group = replace(WORKER.group, kafka={"bootstrap.servers": broker.bootstrap})
    claim = Claim(group, f"{name}.replay.x", [name])
    claim.commit([TopicPartition(name, 0, 5)])

    with pytest.raises(ClaimError, match="under way already"):
        Claim(group, f"{name}.replay.x", [name])
    claim.commit([TopicPartition(name, 0, 6)])
    claim.close()
    again = Claim(group, f"{name}.replay.x", [name])
    (answer,) = again.commit([TopicPartition(name, 0, 7)])
    again.close()

    assert answer.error is None
