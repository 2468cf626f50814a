"""Headers of dead letters as others write them, byte for byte, and what is read from them."""

import pytest

from supervisor.core.letter_view import REPLAY_COUNT, REPLAY_OF, Convention, first_audit_id, view
from supervisor.core.letters import Origin, dead_letter_headers

SPRING = (
    ("trace", b"abc"),
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_dlt-exception-message", b"Listener failed"),
    ("kafka_dlt-exception-stacktrace", b"at com.shop.Orders.on(Orders.java:12)"),
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", b"\x00\x00\x00\x03"),
    ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x03\x2c"),
    ("kafka_dlt-original-timestamp", b"\x00\x00\x01\x8b\xcf\xe5\x68\x00"),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"billing"),
)
CONNECT = (
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"2"),
    ("__connect.errors.offset", b"44"),
    ("__connect.errors.connector.name", b"orders-sink"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"Converting byte[] failed"),
    ("__connect.errors.exception.stacktrace", b"at org.apache..."),
)


def ours(**changes: object) -> tuple[tuple[str, bytes | None], ...]:
    known: dict[str, object] = {
        "group": "billing",
        "worker": "a-billing-0",
        "topic": "orders",
        "partition": 3,
        "offset": 812,
        "timestamp": 12.5,
        "disposition": "timeout",
        "reason": "failed 5 times",
        "attempts": 5,
        "first_failed_at": 20.0,
        "failed_at": 21.0,
        "error": ValueError("no"),
    }
    return dead_letter_headers((("trace", b"abc"),), Origin(**(known | changes)))  # type: ignore[arg-type]


def test_our_own_headers_are_read_as_they_were_written() -> None:
    found = view(ours())

    assert (found.convention, found.audit_id) == (Convention.SUPERVISOR, "billing/orders/3/812")
    assert (found.origin, found.timestamp, found.group) == ("orders/3@812", 12.5, "billing")
    assert (found.disposition, found.reason, found.attempts) == ("timeout", "failed 5 times", 5)
    assert (found.first_failed_at, found.failed_at) == (20.0, 21.0)
    assert (found.exception, found.message, found.replays) == ("builtins.ValueError", "no", 0)


def test_springs_numbers_are_big_endian() -> None:
    found = view(SPRING)

    assert (found.convention, found.origin, found.group) == (Convention.SPRING, "orders/3@812", "billing")
    assert found.timestamp == 1_700_000_000.0
    assert found.exceptions == (
        "org.springframework.kafka.listener.ListenerExecutionFailedException",
        "java.lang.IllegalStateException",
    )
    assert (found.exception, found.disposition) == ("java.lang.IllegalStateException", "error")
    assert found.audit_id == "billing/orders/3/812"


def test_of_springs_repeated_origins_the_first_counts_and_of_exceptions_the_last() -> None:
    hop = (
        ("kafka_dlt-original-topic", b"orders-retry-0"),
        ("kafka_dlt-original-partition", b"\x00\x00\x00\x09"),
        ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x00\x01"),
        ("kafka_dlt-exception-cause-fqcn", b"java.io.IOException"),
    )

    found = view((*SPRING, *hop))

    assert (found.origin, found.exception) == ("orders/3@812", "java.io.IOException")


def test_springs_retryable_topics_have_names_of_their_own() -> None:
    found = view(
        (
            ("kafka_original-topic", b"orders"),
            ("kafka_original-partition", b"\x00\x00\x00\x01"),
            ("kafka_original-offset", b"\x00\x00\x00\x00\x00\x00\x00\x07"),
            ("kafka_exception-fqcn", b"java.lang.RuntimeException"),
            ("retry_topic-attempts", b"\x00\x00\x00\x04"),
            ("retry_topic-backoff-timestamp", (1_700_000_000_500).to_bytes(6, "big")),
        )
    )

    assert (found.origin, found.attempts, found.failed_at) == ("orders/1@7", 4, 1_700_000_000.5)


def test_a_key_that_spring_could_not_read_is_a_matter_of_deserialization() -> None:
    found = view(
        (
            ("kafka_dlt-original-topic", b"orders"),
            ("kafka_dlt-key-exception-fqcn", b"org.springframework.kafka.support.serializer.DeserializationException"),
            ("kafka_dlt-original-timestamp", b"\xff" * 8),
        )
    )

    assert (found.disposition, found.partition, found.timestamp) == ("deserialization", None, None)


def test_connects_headers_are_text_and_its_stage_says_what_went_wrong() -> None:
    found = view(CONNECT)

    assert (found.convention, found.origin, found.group) == (Convention.CONNECT, "orders/2@44", "orders-sink")
    assert (found.disposition, found.reason) == ("deserialization", "VALUE_CONVERTER")
    assert found.exception == "org.apache.kafka.connect.errors.DataException"


def test_brokers_own_dead_letters_of_share_groups_and_those_of_streams_are_read() -> None:
    share = view(
        (
            ("__dlq.errors.topic", b"orders"),
            ("__dlq.errors.partition", b"0"),
            ("__dlq.errors.offset", b"9"),
            ("__dlq.errors.group", b"billing"),
            ("__dlq.errors.delivery.count", b"5"),
        )
    )
    streams = view(
        (
            ("__streams.errors.topic", b"orders"),
            ("__streams.errors.partition", b"0"),
            ("__streams.errors.offset", b"9"),
            ("__streams.errors.exception", b"java.lang.NullPointerException"),
        )
    )

    assert (share.convention, share.audit_id, share.attempts) == (Convention.SHARE_GROUP, "billing/orders/0/9", 5)
    assert (streams.convention, streams.exception) == (Convention.STREAMS, "java.lang.NullPointerException")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("supervisor.dlq.topic", None),),
        (
            ("supervisor.dlq.topic", b"orders"),
            ("supervisor.dlq.partition", b"x"),
            ("supervisor.dlq.offset", "²".encode()),
        ),
        (("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-offset", b"")),
        (("__connect.errors.topic", b"\xff"), ("__connect.errors.partition", b"")),
    ],
)
def test_what_is_not_as_the_convention_has_it_is_not_known_and_breaks_nothing(
    headers: tuple[tuple[str, bytes | None], ...],
) -> None:
    found = view(headers)

    assert (found.partition, found.offset, found.audit_id) == (None, None, "")


def test_the_first_audit_id_survives_replays() -> None:
    again = (*ours(offset=900), (REPLAY_OF, b"billing/orders/3/812"), (REPLAY_COUNT, b"1"))

    assert first_audit_id(ours()) == "billing/orders/3/812"
    assert (first_audit_id(again), view(again).audit_id) == ("billing/orders/3/812", "billing/orders/3/900")
    assert view(again).replays == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("supervisor.dlq.failed-at", b"nan"),
        ("supervisor.dlq.failed-at", b"-inf"),
        ("supervisor.dlq.first-failed-at", b"1e300"),
        ("supervisor.dlq.timestamp", b"inf"),
        ("supervisor.dlq.attempts", b"9" * 5000),
        ("supervisor.dlq.partition", b"4294967296"),
        ("supervisor.dlq.partition", b"-1"),
        ("supervisor.dlq.offset", b"9223372036854775808"),
    ],
)
def test_numbers_that_nobody_could_mean_are_not_there(name: str, value: bytes) -> None:
    found = view((("supervisor.dlq.topic", b"orders"), (name, value)))

    times = (found.failed_at, found.first_failed_at, found.timestamp)
    assert (*times, found.attempts, found.partition, found.offset) == (None,) * 6


@pytest.mark.parametrize("name", ["partition", "offset", "timestamp"])
def test_a_binary_number_of_springs_has_eight_bytes_at_most(name: str) -> None:
    found = view((("kafka_dlt-original-topic", b"orders"), (f"kafka_dlt-original-{name}", b"\x7f" * 2000)))

    assert getattr(found, name) is None
