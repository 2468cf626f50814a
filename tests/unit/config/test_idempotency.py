"""The table ``idempotency`` of a group: what may be a key, and what it does not go with."""

import pytest

from supervisor.config import group_spec
from supervisor.core.spec import IdempotencySpec
from tests.unit.config.texts import MINIMAL, Checker, Loader

STORE = '[groups.orders.idempotency]\nstore = "idempotency_sqlite"\n'


def test_without_a_store_there_is_none(load_text: Loader) -> None:
    assert group_spec(load_text(MINIMAL), "orders").idempotency is None


def test_a_store_is_a_plugin_of_the_workers_with_its_times(load_text: Loader) -> None:
    spec = group_spec(load_text(MINIMAL + STORE + 'ttl = "1d"\n[plugins.idempotency_sqlite]\npath = "x"\n'), "orders")

    assert spec.idempotency == IdempotencySpec("idempotency_sqlite", "offset", ttl=86400.0, lease=30.0)
    assert {one.target: one.options for one in spec.plugins.plugins}["idempotency_sqlite"] == {"path": "x"}


@pytest.mark.parametrize("key", ["offset", "header:order-id", "shop.keys:key_of"])
def test_keys_are_offset_header_or_a_function(problems: Checker, key: str) -> None:
    assert problems(MINIMAL + STORE + f'key = "{key}"\n') == {}


@pytest.mark.parametrize("key", ["", "header:", "value", "shop.keys", "ofset"])
def test_other_keys_are_refused_with_what_to_write(problems: Checker, key: str) -> None:
    found = problems(MINIMAL + STORE + f'key = "{key}"\n')

    assert '"header:order-id"' in found["groups.orders.idempotency.key"].help


def test_what_a_transaction_may_take_back_is_not_remembered_as_done(problems: Checker) -> None:
    found = problems(MINIMAL + 'delivery = "exactly-once"\n' + STORE)

    assert "exactly-once" in found["groups.orders.idempotency.store"].text
