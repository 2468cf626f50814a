import json
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from supervisor.core import backoff, spec
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.spec import Ordering


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    number: int
    maybe: float | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    colour: Colour
    pair: tuple[str, int]
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = field(default_factory=dict)
    inner: Inner | None = None


FULL = Outer(
    colour=Colour.RED,
    pair=("a", 1),
    many=(Inner(1), Inner(2, 0.5)),
    named={"x": Inner(3)},
    inner=Inner(4),
)

WORKER = spec.WorkerSpec(
    supervisor="web-1",
    group=spec.GroupSpec(
        name="orders",
        topics=("orders",),
        handler="shop.orders:process",
        plugins=spec.PluginsSpec(plugins=(spec.PluginSpec("dlq_file", {"folder": "x"}),), search_path=("plugins",)),
        ordering=Ordering.KEY,
        concurrency=16,
        delivery=spec.Delivery.AT_LEAST_ONCE,
        protocol="classic",
        handler_timeout=30.0,
        max_gap=10_000,
        queue_records=1000,
        queue_bytes=1 << 20,
        revoke_timeout=10.0,
        retry=spec.RetrySpec(5, backoff.Backoff(initial=0.2, factor=2.0, max=30.0, jitter=1.0)),
        dead_letters=spec.DeadLetterSpec(sink="kafka", fallback="file", topic="{topic}.dlq", timeout=10.0),
        commit=spec.CommitSpec(mode="manual", count=1000, interval=1.0),
        batch=spec.BatchSpec(size=100, age=0.5),
        kafka={"bootstrap.servers": "127.0.0.1:9092", "enable.ssl": False, "n": 1},
    ),
    slot=3,
    incarnation=7,
    mode=spec.Mode.WORK,
    parent_pid=100,
    state_dir="state",
    orphan_grace=10.0,
    log_format="text",
    log_level="info",
)


def over_the_wire(value: object) -> object:
    return json.loads(json.dumps(to_json(value)))


def test_a_dataclass_survives_the_way_through_json() -> None:
    assert from_json(Outer, over_the_wire(FULL)) == FULL


def test_a_workers_spec_survives_the_way_through_json() -> None:
    assert from_json(spec.WorkerSpec, over_the_wire(WORKER)) == WORKER


def test_a_missing_member_takes_its_default() -> None:
    assert from_json(Outer, {"colour": "red", "pair": ["a", 1]}) == Outer(Colour.RED, ("a", 1))


def test_a_member_of_a_newer_version_is_left_out() -> None:
    assert from_json(Inner, {"number": 1, "later": True}) == Inner(1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "number"),
        ([1], "expected an object, found list"),
        (None, "expected an object, found NoneType"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(data: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"Inner.*{reason}"):
        from_json(Inner, data)


@pytest.mark.parametrize("data", [{"colour": "blue", "pair": ["a", 1]}, {"colour": "red", "pair": ["a", 1, 2]}])
def test_a_value_outside_its_type_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_json(Outer, data)


def test_a_slot_is_the_same_member_whatever_its_incarnation() -> None:
    assert WORKER.instance_id == "web-1-orders-3"
    assert WORKER.is_static
