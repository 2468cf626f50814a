"""Dead letters that nobody planned for, on a real broker: what is asked is answered, and only that is done."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from supervisor.core.dlq import DlqRequest, Replay, Verb
from supervisor.core.jsonable import to_json
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, read_topic
from tests.kafka.letters import Folder, put, story
from tests.unit.test_jsonable import WORKER


@pytest.fixture
def folder(broker: RealBroker, name: str, tmp_path: Path) -> Folder:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic, partitions=2)
    return Folder(tmp_path, broker, name)


def inspected(broker: RealBroker, name: str, verb: Verb, **more: Any) -> Any:
    """Ask the child as the supervisor does for who asks over its socket; return its answer."""
    group = replace(WORKER.group, name=name, topics=(name,), kafka={"bootstrap.servers": broker.bootstrap})
    asked = DlqRequest(verb, group, "/nonexistent", os.getpid(), **more)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.inspector.dlq"],
        input=json.dumps(to_json(asked)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert not done.stderr
    return json.loads(done.stdout.splitlines()[-1])["answer"]


def offsets(folder: Folder, *arguments: str) -> list[int]:
    return [one["view"]["offset"] for one in folder.answer("list", *arguments)["letters"]]


def test_the_newest_are_listed_whichever_partition_was_read_last(broker: RealBroker, name: str, folder: Folder) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for at in range(100):
        late = at >= 50
        headers: Any = list(story(name, name, 0, at))
        producer.produce(f"{name}.dlq", b"x", partition=int(not late), headers=headers, timestamp=1_000_000 + at)
        assert producer.flush(20) == 0

    assert offsets(folder, "--limit", "3") == [97, 98, 99]
    assert offsets(folder, "--limit", "60") == list(range(40, 100))


def test_dropping_one_letter_of_a_topic_takes_none_that_stand_before_it(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    put(broker, f"{name}.dlq", [story(name, name, 0, at) for at in range(5)])

    answer = inspected(broker, name, Verb.DROP, one=f"{name}.dlq/0@3")
    left = offsets(folder)
    first = inspected(broker, name, Verb.DROP, one=f"{name}.dlq/0@0")

    assert (answer["counts"]["dropped"], len(answer["kept"])) == (0, 1)
    assert left == [0, 1, 2, 3, 4]
    assert (first["counts"]["dropped"], offsets(folder)) == (1, [1, 2, 3, 4])


def test_dropping_what_is_pending_takes_nothing_that_was_replayed(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    put(broker, f"{name}.dlq", [story(name, name, 0, at) for at in range(5)])
    folder.answer("replay", "--most", "2")

    answer = inspected(broker, name, Verb.DROP, pending=True, replay=Replay("default"))

    assert (answer["counts"]["dropped"], len(answer["kept"])) == (0, 1)
    assert offsets(folder) == [0, 1, 2, 3, 4]


def test_a_letter_of_a_group_with_an_at_sign_is_found_by_its_audit_id(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    put(broker, f"{name}.dlq", [story("shop@eu", name, 0, 7)])

    assert f"shop@eu/{name}/0/7" in folder.run("show", f"shop@eu/{name}/0/7").stdout
    assert "no dead letter" in folder.run("show", f"{name}.dlq/0@99999999999999999999", code=1).stderr


def test_letters_that_nothing_takes_are_passed_over_and_told_and_the_others_go_back(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    small = create_topic(broker.bootstrap, f"{name}.small", config={"max.message.bytes": "500"})
    value_of = {1: small, 3: "../no topic", 4: "t" * 300, 5: "a\x00b"}
    letters = [story(name, value_of.get(at, name), 0, at) for at in range(7)]
    letters[1] = (*letters[1], ("own", os.urandom(2000)))
    put(broker, f"{name}.dlq", letters)

    done = folder.run("replay", code=1)
    again = folder.answer("replay")

    assert "3 sent, 4 that nothing takes" in done.stdout
    assert [f"not taken: {name}.dlq/0@{at} to " in done.stdout for at in range(7)] == [
        at in value_of for at in range(7)
    ]
    assert [one.value for one in read_topic(broker.bootstrap, name)] == [
        b"the value of record %d" % at for at in (0, 2, 6)
    ]
    assert (again["counts"]["sent"], again["counts"]["read"]) == (0, 0)


def test_what_went_back_before_a_letter_that_could_not_is_not_sent_again(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    letters = [story(name, f"{name}-gone" if at == 3 else name, 0, at) for at in range(6)]
    put(broker, f"{name}.dlq", letters)

    failed = folder.run("replay", code=1)
    create_topic(broker.bootstrap, f"{name}-gone")
    answer = folder.answer("replay")

    assert "3 sent" in failed.stdout
    assert answer["counts"]["sent"] == 3
    copies = [
        ((one.value or b"")[-1:], one.header.get("supervisor.dlq.replay-again"))
        for one in read_topic(broker.bootstrap, name)
    ]
    assert copies[:3] == [(b"0", None), (b"1", None), (b"2", None)]
    assert {value for value, _ in copies} == {b"0", b"1", b"2", b"4", b"5"}
    assert [mark for value, mark in copies[-2:]] == ["1", "1"], "they may have been sent"
