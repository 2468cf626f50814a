from confluent_kafka.admin import AdminClient

from supervisor.kafka.identity import topic_ids
from tests.broker.real import RealBroker
from tests.broker.records import create_topic
from tests.waiting import wait_until


def test_a_topic_made_anew_under_the_same_name_has_another_id(broker: RealBroker, name: str) -> None:
    kafka = {"bootstrap.servers": broker.bootstrap}
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    create_topic(broker.bootstrap, name)
    first = topic_ids(kafka, [name], "test", 5.0)
    admin.delete_topics([name])[name].result(10)
    wait_until(lambda: not topic_ids(kafka, [name], "test", 5.0))
    create_topic(broker.bootstrap, name)
    second = topic_ids(kafka, [name], "test", 5.0)

    assert first[name]
    assert second[name]
    assert first != second


def test_a_broker_that_is_not_there_tells_no_id_and_costs_no_more_than_its_time() -> None:
    assert topic_ids({"bootstrap.servers": "127.0.0.1:1"}, ["orders"], "test", 0.5) == {}
