"""Where brokers make topics by themselves (``auto.create.topics.enable``) a mistyped name makes none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from tests.broker import real
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, read_topic
from tests.kafka.letters import Folder, put, story


@pytest.fixture(scope="module")
def making() -> Iterator[RealBroker]:
    if reason := real.missing():
        pytest.skip(reason)
    with RealBroker(real.STEADY | {"auto.create.topics.enable": "true"}) as running:
        yield running


@pytest.fixture
def folder(making: RealBroker, name: str, tmp_path: Path) -> Folder:
    for topic in (name, f"{name}.dlq"):
        create_topic(making.bootstrap, topic)
    put(making, f"{name}.dlq", [story(name, name, 0, at) for at in range(3)])
    return Folder(tmp_path, making, name)


def there(broker: RealBroker) -> set[str]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "nobody"})
    try:
        return set(consumer.list_topics(timeout=20).topics)
    finally:
        consumer.close()


@pytest.mark.parametrize("verb", ["list", "stats", "replay", "drop", "export"])
def test_a_mistyped_topic_of_letters_is_said_and_not_made(
    making: RealBroker, name: str, folder: Folder, verb: str
) -> None:
    more = ["--yes"] if verb == "drop" else []

    alone = folder.run(verb, "--topic", f"{name}.dql", *more, code=1)
    beside = folder.run(verb, "--topic", f"{name}.dlq", "--topic", f"{name}.dql", *more, code=1)

    assert f"topic {name}.dql does not exist" in alone.stderr
    assert f"topic {name}.dql does not exist" in beside.stderr
    assert f"{name}.dql" not in there(making)
    assert read_topic(making.bootstrap, name) == []


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--name", "again")], ids=" ".join)
@pytest.mark.parametrize("typo", ["-typo", "/"], ids=["one that could be", "one that no topic can have"])
def test_a_mistyped_destination_is_said_and_not_made_before_anything_is_sent_or_noted(
    making: RealBroker, name: str, folder: Folder, typo: str, more: tuple[str, ...]
) -> None:
    done = folder.run("replay", "--to", f"{name}{typo}", *more, code=1)

    assert f"topic '{name}{typo}' of --to does not exist" in done.stderr
    assert f"did you mean '{name}'?" in done.stderr
    assert "goes on" not in done.stderr
    assert f"{name}{typo}" not in there(making)
    if "--dry-run" not in more:
        assert "3 sent" in folder.run("replay", "--to", name, *more).stdout
        assert len(read_topic(making.bootstrap, name)) == 3


def test_a_topic_that_is_gone_is_not_made_anew_by_its_letters(making: RealBroker, name: str, folder: Folder) -> None:
    put(making, f"{name}.dlq", [story(name, f"{name}.gone", 0, 0)])

    done = folder.run("replay", code=1)

    assert f"{name}.gone" not in there(making)
    assert "3 sent" in done.stdout
    assert "UNKNOWN_TOPIC_OR_PART" in done.stderr


def test_without_leave_to_make_topics_no_parking_topic_is_made(
    making: RealBroker, name: str, folder: Folder, tmp_path: Path
) -> None:
    strict = Folder(tmp_path, making, name, more="dead_letters.create = false")

    done = strict.run("replay", "--max-replays", "0", code=1)

    assert f"{name}.parked" not in there(making)
    assert "UNKNOWN_TOPIC" in done.stderr
