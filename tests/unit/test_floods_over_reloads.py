"""A reload changes the guard of a group whose workers have been at work for long."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from supervisor.core.spec import FloodSpec
from supervisor.parent.slots.floods import Floods

OFF = FloodSpec()
ON = FloodSpec(ratio=0.5, min_records=10, rate_count=10, rate_seconds=60.0)


class Slot:
    """A slot whose worker did something, and keeps what it is told."""

    number = 0

    def __init__(self, flood: FloodSpec) -> None:
        self.group = SimpleNamespace(flood=flood)
        self.slot = SimpleNamespace(incarnation=1, wanted=True)
        self.stats = SimpleNamespace(dead_lettered=500, settled=600)
        self.told: list[str] = []

    def tell(self, _kind: str, *, order: dict[str, Any]) -> bool:
        self.told.append(order["state"])
        return True


def run(slot: Slot, story: Callable[[Floods, list[str]], None]) -> list[str]:
    """Let a story happen to the guard of a group of one slot; return the events."""

    async def tell() -> list[str]:
        events: list[str] = []
        log = SimpleNamespace(tell=lambda name, *_, **__: events.append(name))
        story(Floods(lambda _: cast("Any", [slot]), cast("Any", log)), events)
        return events

    return asyncio.run(tell())


def test_what_became_dead_letters_before_a_guard_was_made_or_changed_is_no_flood() -> None:
    slot = Slot(ON)

    def story(floods: Floods, _events: list[str]) -> None:
        floods.look(["orders"])
        slot.group.flood = FloodSpec(ratio=0.6, min_records=10)
        floods.look(["orders"])
        slot.stats = SimpleNamespace(dead_lettered=501, settled=602)
        floods.look(["orders"])

    assert run(slot, story) == []


def test_what_becomes_dead_letters_from_then_on_is_one() -> None:
    slot = Slot(ON)

    def story(floods: Floods, _events: list[str]) -> None:
        floods.look(["orders"])
        slot.stats = SimpleNamespace(dead_lettered=520, settled=620)
        floods.look(["orders"])

    assert run(slot, story) == ["flood.tripped"]


def test_an_amnesty_is_not_for_workers_that_start_when_it_is_over() -> None:
    slot = Slot(FloodSpec(consecutive=100, window=0.0))
    amnesties: list[bool] = []

    def story(floods: Floods, _events: list[str]) -> None:
        floods.look(["orders"])
        floods.heard("orders", 0, {"type": "flood", "state": "tripped", "reason": "many"})
        floods.resume("orders")
        amnesties.append(floods.order("orders", 0).amnesty)
        floods.look(["orders"])
        amnesties.append(floods.order("orders", 0).amnesty)

    run(slot, story)

    assert amnesties == [True, False]


def test_a_group_that_is_held_goes_on_when_its_guard_is_switched_off() -> None:
    slot = Slot(ON)

    def story(floods: Floods, _events: list[str]) -> None:
        floods.heard("orders", 0, {"type": "flood", "state": "tripped", "reason": "many"})
        slot.group.flood = OFF
        floods.look(["orders"])
        floods.look(["orders"])
        slot.group.flood = ON
        floods.look(["orders"])

    assert run(slot, story) == ["flood.tripped", "flood.resumed"]
    assert slot.told[0] == "tripped"
    assert set(slot.told[1:]) == {"normal"}
