"""What a reload does to a group, by what changed of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.plan_diff import ASSIGNOR, Change, Shape, plan_diff
from supervisor.core.spec import Mode, Ordering, RetryTier
from tests.process.parent_program import worker_spec

SPEC = worker_spec(Path("x"), "orders", {}, 0, 0, Mode.WORK)
OLD = Shape(2, SPEC, rules=(5.0,), more=("fork",))


def changed(**members: Any) -> Shape:
    return replace(OLD, spec=replace(SPEC, group=replace(SPEC.group, **members)))


@pytest.mark.parametrize(
    ("new", "change", "keys"),
    [
        (OLD, Change.UNCHANGED, ()),
        (replace(OLD, workers=4), Change.UNCHANGED, ()),
        (replace(OLD, rules=(6.0,)), Change.RULES, ("supervision",)),
        (replace(OLD, more=("exec",)), Change.ROLLED, ("processes",)),
        (replace(OLD, spec=replace(SPEC, log_level="debug")), Change.ROLLED, ("log_level",)),
        (changed(ordering=Ordering.KEY, concurrency=4), Change.ROLLED, ("ordering", "concurrency")),
        (changed(topics=("orders", "more")), Change.TOPICS, ("topics",)),
        (changed(retry=replace(SPEC.group.retry, tiers=(RetryTier("5s", 5.0),))), Change.TOPICS, ("retry",)),
        (changed(topics=("more",)), Change.FEWER_TOPICS, ("topics",)),
        (changed(topics=("^ord.*",)), Change.FEWER_TOPICS, ("topics",)),
        (changed(protocol="consumer", topics=("more",)), Change.RESTARTED, ("topics", "protocol")),
        (changed(kafka={ASSIGNOR: "range"}), Change.RESTARTED, (f"kafka.{ASSIGNOR}",)),
    ],
)
def test_the_least_that_makes_a_change_count(new: Shape, change: Change, keys: tuple[str, ...]) -> None:
    (found,) = plan_diff({"orders": OLD}, {"orders": new})

    assert (found.change, found.keys) == (change, keys)
    assert found.is_resized is (new.workers != OLD.workers)


def test_the_same_topics_in_another_order_are_no_change() -> None:
    old, new = changed(topics=("a", "b", "c")), changed(topics=("c", "a", "b"))
    (same,) = plan_diff({"orders": old}, {"orders": new})
    (rolled,) = plan_diff({"orders": old}, {"orders": changed(topics=("b", "a", "c"), concurrency=4)})

    assert (same.change, same.keys, same.text) == (Change.UNCHANGED, (), "unchanged")
    assert (rolled.change, rolled.keys) == (Change.ROLLED, ("concurrency",))


def test_one_topic_less_makes_every_slot_leave() -> None:
    (found,) = plan_diff({"orders": changed(topics=("a", "b"))}, {"orders": changed(topics=("a",))})

    assert (found.change, found.keys) == (Change.FEWER_TOPICS, ("topics",))


def test_one_retry_topic_less_makes_every_slot_leave() -> None:
    tiers = RetryTier("5s", 5.0), RetryTier("1m", 60.0)
    both, one = (changed(retry=replace(SPEC.group.retry, tiers=some)) for some in (tiers, tiers[:1]))

    (found,) = plan_diff({"orders": both}, {"orders": one})

    assert (found.change, found.keys) == (Change.FEWER_TOPICS, ("retry",))


def test_what_an_incarnation_is_told_of_itself_is_no_change() -> None:
    other = replace(OLD, spec=replace(SPEC, slot=3, incarnation=9, parent_pid=1, mode=Mode.LEAVE))

    assert plan_diff({"orders": OLD}, {"orders": other})[0].change is Change.UNCHANGED


def test_groups_that_go_come_first_and_new_ones_are_added() -> None:
    found = plan_diff({"a": OLD, "b": OLD}, {"b": OLD, "c": OLD})

    assert [(one.name, one.change, one.workers) for one in found] == [
        ("a", Change.REMOVED, (2, 0)),
        ("b", Change.UNCHANGED, (2, 2)),
        ("c", Change.ADDED, (0, 2)),
    ]


def test_p10_a_change_names_keys_and_never_their_values() -> None:
    (found,) = plan_diff({"orders": OLD}, {"orders": changed(kafka={"sasl.password": "hunter2"})})

    assert found.text == "rolled (kafka.sasl.password)"
    assert "hunter2" not in repr(found)


def test_a_setting_that_is_taken_out_is_named() -> None:
    (found,) = plan_diff({"orders": changed(kafka={"linger.ms": "5"})}, {"orders": changed(kafka={})})

    assert (found.change, found.keys) == (Change.ROLLED, ("kafka.linger.ms",))
