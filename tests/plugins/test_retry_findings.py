from dataclasses import replace

from supervisor.core.spec import RetryTier
from supervisor.inspector.findings import Level
from supervisor.inspector.retry_findings import check_retry_topics
from supervisor.kafka.admin import TopicState
from tests.plugins.test_findings import SPEC, states

RETRIED = replace(SPEC, retry=replace(SPEC.retry, tiers=(RetryTier("5s", 5.0), RetryTier("1m", 60.0))))
ALL = frozenset({"READ", "WRITE"})


def test_missing_retry_topics_are_made_by_workers_and_others_are_fine() -> None:
    there = {**states(orders=4, orders_retry_5s=4), "orders.retry.1m": TopicState("orders.retry.1m", exists=False)}

    found = check_retry_topics(RETRIED, there, may_create=None)

    assert [one.level for one in found] == [Level.OK, Level.OK]
    assert "may use the retry topics orders.retry.5s" in found[0].text
    assert "will make the retry topics orders.retry.1m" in found[1].text


def test_a_retry_topic_nobody_may_make_is_told_with_the_command_that_does() -> None:
    there = {**states(orders=4, orders_retry_5s=4), "orders.retry.1m": TopicState("orders.retry.1m", exists=False)}

    (found,) = [one for one in check_retry_topics(RETRIED, there, may_create=False) if one.level is not Level.OK]

    assert found.level is Level.WARNING
    assert "--partitions 4" in found.help


def test_a_retry_topic_must_be_read_and_written() -> None:
    there = states(orders=4, orders_retry_1m=4)
    there["orders.retry.5s"] = TopicState("orders.retry.5s", True, 4, frozenset({"READ"}))

    (found,) = [one for one in check_retry_topics(RETRIED, there) if one.level is Level.ERROR]

    assert "no right to WRITE retry topic 'orders.retry.5s'" in found.text


def test_a_group_without_retry_topics_has_nothing_to_say() -> None:
    assert check_retry_topics(SPEC, states(orders=4)) == []
