"""Dead-letter topics that are made when they are needed, on a real broker."""

import threading

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from supervisor.kafka.topics import DeadLetterTopics
from tests.broker.real import RealBroker
from tests.broker.records import create_topic


def _topics(broker: RealBroker) -> DeadLetterTopics:
    return DeadLetterTopics({"bootstrap.servers": broker.bootstrap}, client_id="test", create=True)


def _settings(broker: RealBroker, topic: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return {key: str(entry.value) for key, entry in admin.describe_configs([resource])[resource].result(10).items()}


def _partitions(broker: RealBroker, topic: str) -> int:
    return len(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(topic, 10).topics[topic].partitions)


def test_a_missing_topic_gets_its_sources_partitions_and_keeps_what_it_holds(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=3, config={"max.message.bytes": "3000000", "retention.ms": "1000"})

    assert _topics(broker).make(f"{name}.dlq", like=name) == 3

    assert _partitions(broker, f"{name}.dlq") == 3
    settings = _settings(broker, f"{name}.dlq")
    assert settings["retention.ms"] == "-1"
    assert settings["max.message.bytes"] == "3000000", "what its source takes must fit"


def test_a_topic_that_is_there_is_left_as_it_is(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=3)
    create_topic(broker.bootstrap, f"{name}.dlq", config={"retention.ms": "1000"})

    assert _topics(broker).make(f"{name}.dlq", like=name) == 0

    assert _settings(broker, f"{name}.dlq")["retention.ms"] == "1000"


def test_many_workers_that_need_it_at_once_make_it_once(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    made: list[int] = []
    threads = [
        threading.Thread(target=lambda: made.append(_topics(broker).make(f"{name}.dlq", like=name))) for _ in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(made) == [0, 0, 0, 2]


def test_a_cluster_that_does_not_answer_is_left_to_the_write_that_follows(name: str) -> None:
    topics = DeadLetterTopics({"bootstrap.servers": "127.0.0.1:9"}, client_id="test", create=True)

    assert topics.make(f"{name}.dlq", like=name) == 0
