"""No two records share what they are known by: not across groups, not across topics (P1)."""

import hypothesis.strategies as st
from hypothesis import example, given

from supervisor.config.values import kafka_name
from supervisor.core.letters import audit_id
from supervisor.plugin import Record
from supervisor.plugin.front import key_function
from tests.plugins.conftest import FakeMessage

texts = st.text("ab0./-_:", min_size=3, max_size=12)


def is_kafka_name(text: str) -> bool:
    try:
        return bool(kafka_name(text))
    except ValueError:
        return False


def parted(text: str) -> set[tuple[str, str]]:
    """Return the groups and names that ``text`` is, whichever of its characters is the mark between them."""
    both = {(text[:at], text[at + 1 :]) for at in range(1, len(text) - 1)}
    return {(group, name) for group, name in both if is_kafka_name(group)}


def of_offset(group: str, topic: str, partition: int, offset: int) -> str | None:
    message = FakeMessage()
    message.origin = (topic, partition, offset)  # type: ignore[attr-defined]
    return key_function("offset", group)(Record(message))


def of_header(group: str, value: str) -> str | None:
    message = FakeMessage()
    message.headers = lambda: [("id", value.encode())]  # type: ignore[method-assign, assignment]
    return key_function("header:id", group)(Record(message))


@given(texts)
@example("a/b/0")
def test_p1_no_two_groups_have_one_key_or_audit_id_whatever_their_names(text: str) -> None:
    names = parted(text)

    assert len({of_header(*one) for one in names}) == len(names)
    assert len({of_offset(*one, 0, 0) for one in names}) == len(names)
    assert len({audit_id(*one, 0, 0) for one in names}) == len(names)


@given(texts, st.integers(0, 11), st.integers(0, 11))
def test_p1_no_two_topics_have_one_key_or_audit_id_whatever_a_copys_header_says(text: str, one: int, two: int) -> None:
    places = {(text, one, two), (f"{text}/{one}", two, two), (text, 1, 11), (text, 11, 1), (text, two, one)}

    assert len({of_offset("a", *place) for place in places}) == len(places)
    assert len({audit_id("a", *place) for place in places}) == len(places)


def test_p1_keys_and_audit_ids_stay_what_they_are_in_stores_and_topics() -> None:
    place = ("shop.orders_v1-a", "orders.EU", 7, 812)

    assert of_offset(*place) == audit_id(*place) == "shop.orders_v1-a/orders.EU/7/812"
    assert of_header("orders", "a/7") == "orders/a/7"
