"""Headers whose names are no UTF-8, which Kafka allows and the client cannot read: the record is one like any other."""

from supervisor.core.backoff import Backoff
from supervisor.core.spec import RetrySpec
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, produce_raw, read_topic
from tests.worker.conftest import Start
from tests.worker.direct import group_spec


def test_p1_a_record_with_a_header_name_that_is_no_text_is_worked_and_becomes_a_dead_letter_like_others(
    broker: RealBroker, name: str, start: Start
) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic)
    for word in (b"raise", b"good"):
        produce_raw(broker.bootstrap, name, word, [(b"caf\xe9", b"\xff\xfe"), (b"own", b"1"), (b"none", None)])
    produce(broker.bootstrap, name, ["good"])

    retry = RetrySpec(attempts=2, backoff=Backoff(0.0, 1.0, 0.0, 0.0))
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:fail_with_headers", retry=retry))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3})

    (letter,) = read_topic(broker.bootstrap, f"{name}.dlq")
    assert letter.headers[:3] == (("\N{REPLACEMENT CHARACTER}", b"\xff\xfe"), ("own", b"1"), ("none", None))
    assert letter.header["supervisor.dlq.exception-type"] == "builtins.ValueError"
    assert letter.header["supervisor.dlq.exception-message"] == "['\N{REPLACEMENT CHARACTER}', 'own', 'none']"
    assert worker.process.poll() is None
    assert worker.stop() == 0
