from dataclasses import replace
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.spec import (
    BatchSpec,
    CommitSpec,
    DeadLetterSpec,
    Delivery,
    GroupSpec,
    Ordering,
    PluginsSpec,
    RetrySpec,
)
from supervisor.inspector.findings import (
    Finding,
    check_dead_letters,
    check_group,
    check_topics,
    check_workers,
    dead_letter_topics,
    read_topics,
    unseen_group,
)
from supervisor.kafka.admin import GroupState, TopicState

SPEC = GroupSpec(
    name="orders",
    topics=("orders",),
    handler="shop:process",
    plugins=PluginsSpec(),
    ordering=Ordering.KEY,
    concurrency=1,
    delivery=Delivery.AT_LEAST_ONCE,
    protocol="classic",
    handler_timeout=30.0,
    max_gap=100,
    queue_records=100,
    queue_bytes=100,
    revoke_timeout=1.0,
    retry=RetrySpec(1, Backoff(1.0, 1.0, max=1.0, jitter=0.0)),
    dead_letters=DeadLetterSpec("dlq_kafka", "", topic="{topic}.dlq", timeout=1.0),
    commit=CommitSpec("manual", 1, interval=1.0),
    batch=BatchSpec(1, 1.0),
    kafka={"bootstrap.servers": "k:9092"},
)
ALL = frozenset({"READ", "WRITE", "DESCRIBE"})


def states(**topics: TopicState | int) -> dict[str, TopicState]:
    """Return topics by name (``_`` stands for a dot); a number is of partitions, 0 means missing."""
    found = {}
    for word, state in topics.items():
        name = word.replace("_", ".")
        if isinstance(state, int):
            state = TopicState(name, exists=state > 0, partitions=state, operations=ALL)  # noqa: PLW2901
        found[name] = state
    return found


def shown(findings: list[Finding]) -> list[str]:
    return [f"{finding.level}: {finding.text}" for finding in findings]


def live(**more: Any) -> GroupState:
    state = GroupState("orders", ("web-1 @ 10.0.0.1",), "classic", assignor="cooperative-sticky", operations=ALL)
    return replace(state, **more)


def test_patterns_are_topics_that_match_now_each_once() -> None:
    spec = replace(SPEC, topics=("orders", "^ord.*", "^eu\\.", "plain"))

    found = read_topics(spec, ["orders", "ordinary", "eu.orders", "euro"])

    assert found == ["orders", "plain", "ordinary", "eu.orders"]


def test_topics_that_are_there_are_fine() -> None:
    assert shown(check_topics(SPEC, states(orders=1), ["orders"])) == ["ok: reads orders (1 partition)"]


def test_a_missing_topic_says_which_was_perhaps_meant() -> None:
    (found,) = check_topics(SPEC, states(orders=0), ["order", "mails"], partitions=3)

    assert shown([found]) == ["error: topic 'orders' does not exist"]
    assert found.help == (
        "did you mean 'order'? correct groups.orders.topics, or create it: "
        "kafka-topics --bootstrap-server k:9092 --create --topic orders --partitions 3"
    )


def test_the_dead_letter_topic_of_a_missing_topic_is_missed_in_the_same_breath() -> None:
    (found,) = check_dead_letters(SPEC, states(orders=0, orders_dlq=0), creates=False, partitions=3)

    assert found.help == "kafka-topics --bootstrap-server k:9092 --create --topic orders.dlq --partitions 3"


def test_commands_for_a_secured_cluster_leave_room_for_its_credentials() -> None:
    secured = replace(SPEC, kafka={**SPEC.kafka, "security.protocol": "SASL_SSL"})

    (found,) = check_topics(secured, states(orders=0), [])

    assert "--bootstrap-server k:9092 --command-config FILE --create" in found.help


def test_a_group_that_cannot_be_looked_at_says_whether_a_right_or_patience_is_missing() -> None:
    right = unseen_group(SPEC, "no", code="GROUP_AUTHORIZATION_FAILED")
    patience = unseen_group(SPEC, "no answer in time", code="")

    acls = "kafka-acls --bootstrap-server k:9092 --add --allow-principal User:NAME"
    assert right.help == f"{acls} --operation Read --group orders"
    assert patience.help == "the cluster is busy or starting: check again in a moment"


def test_rights_that_are_missing_are_named() -> None:
    only = TopicState("orders", exists=True, partitions=1, operations=frozenset({"DESCRIBE"}))
    hidden = TopicState("orders", exists=True, error="TOPIC_AUTHORIZATION_FAILED: no")
    letters = TopicState("orders.dlq", exists=True, partitions=1, operations=frozenset({"DESCRIBE", "READ"}))

    assert shown(check_topics(SPEC, states(orders=only), [])) == ["error: no right to READ topic 'orders'"]
    assert "cannot be looked at: TOPIC_AUTH" in shown(check_topics(SPEC, states(orders=hidden), []))[0]
    (found,) = check_dead_letters(SPEC, states(orders=1, orders_dlq=letters), creates=False)
    assert found.text.startswith("no right to WRITE dead-letter topic 'orders.dlq'")
    (found,) = check_group(SPEC, live(operations=frozenset({"DESCRIBE"})))
    assert found.text == "no right to READ consumer group 'orders'"


def test_a_broker_that_does_not_tell_rights_is_believed() -> None:
    silent = {name: replace(state, operations=None) for name, state in states(orders=1, orders_dlq=1).items()}

    found = [*check_topics(SPEC, silent, []), *check_dead_letters(SPEC, silent, creates=None)]

    assert [finding.level for finding in found] == ["ok", "ok"]


def test_a_pattern_without_a_topic_is_a_warning() -> None:
    spec = replace(SPEC, topics=("^orders",))

    assert shown(check_topics(spec, {}, ["mails"])) == ["warning: no topic matches '^orders' now"]


@pytest.mark.parametrize(("creates", "level"), [(True, "warning"), (False, "error"), (None, "warning")])
def test_a_missing_dead_letter_topic_matters_as_much_as_nobody_creates_it(*, creates: bool | None, level: str) -> None:
    (found,) = check_dead_letters(SPEC, states(orders=6, orders_dlq=0), creates=creates)

    assert found.level == level
    assert "kafka-topics --bootstrap-server k:9092 --create --topic orders.dlq --partitions 6" in found.help


def test_whoever_may_not_make_topics_hears_of_it_before_the_first_letter() -> None:
    makes = replace(SPEC, dead_letters=replace(SPEC.dead_letters, create=True))

    (found,) = check_dead_letters(makes, states(orders=6, orders_dlq=0), creates=False, may_create=False)

    assert found.level == "warning"
    assert "this user may not make just any topic" in found.text
    assert "--operation Create --topic orders.dlq" in found.help


def test_a_dead_letter_topic_with_fewer_partitions_is_a_warning_and_with_more_is_fine() -> None:
    (fewer,) = check_dead_letters(SPEC, states(orders=6, orders_dlq=3), creates=True)
    (more,) = check_dead_letters(SPEC, states(orders=6, orders_dlq=7), creates=True)

    assert shown([fewer]) == ["warning: dead-letter topic 'orders.dlq' has 3 partitions, 'orders' has 6"]
    assert shown([more]) == ["ok: may write dead letters to orders.dlq"]


def test_a_group_that_would_read_its_own_dead_letters_is_an_error() -> None:
    spec = replace(SPEC, topics=("^orders",), dead_letters=replace(SPEC.dead_letters, topic="orders.dlq"))

    found = check_dead_letters(spec, states(orders=1, orders_dlq=1), creates=True)

    assert [finding.level for finding in found] == ["error", "error"]
    assert "its letters would be worked again" in found[0].text


def test_only_a_sink_that_writes_to_kafka_needs_topics() -> None:
    file_only = replace(SPEC, dead_letters=replace(SPEC.dead_letters, sink="dlq_file"))
    both = replace(SPEC, dead_letters=replace(SPEC.dead_letters, sink="dlq_file", fallback="dlq_kafka"))

    assert dead_letter_topics(file_only, ["orders"]) == {}
    assert dead_letter_topics(both, ["orders"]) == {"orders": "orders.dlq"}


def test_more_workers_than_partitions_is_a_warning() -> None:
    assert check_workers(SPEC, states(orders=4), 4) == []
    (found,) = check_workers(SPEC, states(orders=4), 6)
    assert shown([found]) == ["warning: 6 workers for 4 partitions: 2 of them will be idle"]


def test_a_group_of_the_same_kind_or_without_members_can_be_joined() -> None:
    assert shown(check_group(SPEC, live(members=(), protocol="", assignor=""))) == [
        "ok: consumer group 'orders' has no members now"
    ]
    assert shown(check_group(SPEC, live())) == ["ok: consumer group 'orders' is live with 1 member: web-1 @ 10.0.0.1"]
    rebalancing = live(assignor="")
    assert check_group(SPEC, rebalancing)[0].level == "ok"


def test_another_protocol_or_assignor_gets_the_migration_steps() -> None:
    (protocol,) = check_group(replace(SPEC, protocol="consumer"), live())
    (assignor,) = check_group(SPEC, live(assignor="range"))
    fits = replace(SPEC, kafka={"partition.assignment.strategy": "roundrobin, range"})

    assert protocol.level == assignor.level == "error"
    assert protocol.text.startswith("the live group speaks protocol 'classic', the config says 'consumer'")
    assert assignor.text.startswith("the live group assigns by 'range', the config by 'cooperative-sticky'")
    assert "1. stop all members of the group, on every host" in assignor.help
    assert '"partition.assignment.strategy" = "range" in [groups.orders.kafka]' in assignor.help
    assert check_group(fits, live(assignor="range"))[0].level == "ok"
