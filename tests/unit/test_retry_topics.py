from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.backoff import Backoff
from supervisor.core.retry_topics import (
    Copy,
    copy_headers,
    next_tier,
    own_headers,
    read_copy,
    retry_topics,
    subscription,
)
from supervisor.core.spec import RetrySpec, RetryTier
from tests.worker.direct import group_spec

TIERS = (RetryTier("5s", 5.0), RetryTier("1m", 60.0), RetryTier("10m", 600.0))
COPY = Copy("g", "orders", 3, 812, timestamp=1.5, attempts=2, first_failed_at=10.25, not_before=15.25)
RETRY = RetrySpec(1, Backoff(1, 1, 1, 0), tiers=TIERS)


@pytest.mark.parametrize(
    ("at", "after", "tier"),
    [
        (-1, None, 0),
        (0, None, 1),
        (2, None, None),
        (-1, 5.0, 0),
        (-1, 30, 1),
        (1, 0.0, 2),
        (-1, 9999, 2),
        (1, 9999, 2),
        (2, 1.0, None),
    ],
)
def test_the_next_tier_is_the_first_later_one_that_waits_as_long(
    at: int, after: float | None, tier: int | None
) -> None:
    assert next_tier(TIERS, at, after) == tier


@given(st.integers(-1, 2), st.none() | st.floats(0, 1000))
def test_no_record_ever_goes_back_to_an_earlier_tier(at: int, after: float | None) -> None:
    tier = next_tier(TIERS, at, after)

    assert tier is None or tier > at


def test_each_topic_has_a_retry_topic_per_delay_and_all_are_read() -> None:
    group = group_spec("", "g", ("orders", "bills"), "h", retry=replace(RETRY, topic="{topic}-{group}-{delay}"))

    assert list(retry_topics(group)) == [f"{topic}-g-{tier.label}" for tier in TIERS for topic in ("orders", "bills")]
    assert (retry_topics(group)["bills-g-1m"].source, retry_topics(group)["bills-g-1m"].tier) == ("bills", 1)
    assert subscription(group)[:3] == ("orders", "bills", "orders-g-5s")
    assert subscription(group_spec("", "g", ("orders",), "h")) == ("orders",)


def test_what_a_copy_says_can_be_read_again_and_leaves_the_records_own_headers_alone() -> None:
    own = (("trace", b"1"), ("trace", None))

    headers = copy_headers(own, COPY, error="builtins.ValueError")

    assert read_copy(headers) == COPY
    assert own_headers(headers) == own
    assert dict(headers)["supervisor.retry.audit-id"] == b"g/orders/3/812"


def test_a_copy_of_an_earlier_version_does_not_say_who_stamped_its_record() -> None:
    brokers = replace(COPY, timestamp_type="LogAppendTime")
    headers = copy_headers((), brokers, error="E")

    older = tuple(one for one in headers if one[0] != "supervisor.retry.timestamp-type")

    assert read_copy(headers) == brokers
    assert read_copy(older) == COPY


def test_a_second_copys_headers_take_the_place_of_the_firsts() -> None:
    again = replace(COPY, attempts=3, timestamp=None)

    headers = copy_headers(copy_headers((), COPY, error="A"), again, error="B")

    assert read_copy(headers) == again
    assert [name for name, _ in headers].count("supervisor.retry.attempts") == 1


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("attempts", b"9" * 30),
        ("attempts", b"-1"),
        ("partition", b"4294967296"),
        ("offset", b"-5"),
        ("timestamp", b"inf"),
        ("not-before", b"nan"),
        ("first-failed-at", b"1e300"),
    ],
)
def test_a_number_that_no_copy_of_ours_has_is_no_copys(name: str, broken: bytes) -> None:
    headers = {**dict(copy_headers((), COPY, error="A")), f"supervisor.retry.{name}": broken}

    assert read_copy(tuple(headers.items())) is None


@pytest.mark.parametrize("broken", [None, b"", b"x", b"\xff"])
def test_what_is_no_copy_of_ours_says_nothing(broken: bytes | None) -> None:
    headers = tuple(
        (name, broken if "attempts" in name else value) for name, value in copy_headers((), COPY, error="A")
    )

    assert read_copy(headers) is None
    assert read_copy(()) is None
