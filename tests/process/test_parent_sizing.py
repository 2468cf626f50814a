"""From a reading to a change of the number of workers."""

import asyncio
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from supervisor.core.autoscale import Rules, WorkerRange
from supervisor.core.events import Scalar
from supervisor.core.lag import GroupLag, GroupMember, PartitionLag
from supervisor.core.paused import Paused
from supervisor.core.snapshot import SlotState
from supervisor.parent.groups.sizing import GAP, Sizing
from supervisor.parent.plan import Plan
from supervisor.parent.store.eventlog import EventLog
from supervisor.parent.supervisor import Supervisor

RULES = Rules(WorkerRange(1, 8, 100))


class FakeSupervisor:
    """A supervisor that scales at once."""

    def __init__(self, scaling: Rules | None, workers: int) -> None:
        group = SimpleNamespace(name="orders", scaling=scaling, retry_topics=frozenset({"t.retry.5s"}))
        self.plan = cast("Plan", SimpleNamespace(supervisor="a", groups=(group,)))
        self.events = EventLog()
        self.groups = {"orders": workers}
        self.reasons: list[str] = []
        self.fields: list[dict[str, Scalar]] = []
        self.is_at_rest = False

    def rests(self, group: str) -> bool:
        return self.is_at_rest and group in self.groups

    def scale(self, group: str, workers: int, *, reason: str, fields: Mapping[str, Scalar] | None = None) -> None:
        self.groups[group] = workers
        self.reasons.append(reason)
        self.fields.append(dict(fields or {}))


class Rig:
    def __init__(self, supervisor: FakeSupervisor, loop: Any) -> None:
        self.supervisor = supervisor
        self.is_busy = False
        self.sizing = Sizing(supervisor, is_busy=lambda _: self.is_busy)
        self.sizing._loop = loop
        self._loop = loop
        self._offset = 0

    def read(
        self, *lags: int, after: float = 5.0, members: tuple[GroupMember, ...] | None = (), topic: str = "t"
    ) -> int:
        self._loop.now += after
        self._offset += 1
        parts = tuple(PartitionLag(topic, at, self._offset, self._offset + lag, lag) for at, lag in enumerate(lags))
        self.sizing.heard("orders", GroupLag(sum(lags), 0.0, parts, members))
        return self.supervisor.groups["orders"]


def rig(scaling: Rules | None = RULES, workers: int = 1) -> Rig:
    clock = SimpleNamespace(now=1000.0)
    clock.time = lambda: clock.now

    async def inside() -> Rig:
        return Rig(FakeSupervisor(scaling, workers), clock)

    return asyncio.run(inside())


def test_lag_brings_workers_with_a_reason_that_explains_it() -> None:
    seen = rig()

    assert seen.read(*[300] * 4) == 2
    assert seen.supervisor.reasons == ["lag 1200 in 4 of 4 partitions, target 100 per worker"]
    assert seen.supervisor.fields == [{"lag": 1200, "lagging": 4, "stuck": 0, "partitions": 4, "hosts": 1}]


def test_a_group_of_fixed_size_is_left_alone_and_its_idle_workers_are_told_once() -> None:
    seen = rig(None, workers=3)

    for _ in range(3):
        assert seen.read(9000, 9000) == 3

    told = [entry.event for entry in seen.supervisor.events.since(0).entries]
    assert [(event.name, event.text) for event in told] == [
        ("group.idle_workers", "3 workers for 2 partitions: 1 of them will be idle")
    ]


def test_idle_workers_are_told_of_again_when_their_number_changes_or_there_were_none_meanwhile() -> None:
    seen = rig(None, workers=3)
    for lags in ([0] * 2, [0], [0], [0] * 3, [0] * 4, [0], [], [0]):
        seen.read(*lags)
    seen.supervisor.groups["orders"] = 2
    seen.read(0)

    told = [entry.event for entry in seen.supervisor.events.since(0).entries]
    assert [(event.fields["workers"], event.fields["partitions"]) for event in told] == [
        (3, 2),
        (3, 1),
        (3, 1),  # there were enough partitions in between
        (3, 1),  # and none at all, of a topic that was away
        (2, 1),
    ]


def test_nobody_scales_a_group_that_is_in_somebodys_hands() -> None:
    seen = rig()
    seen.is_busy = True

    assert seen.read(*[300] * 4) == 1


def test_nobody_starts_workers_in_a_group_that_an_operator_stopped_or_paused() -> None:
    seen = rig()
    seen.supervisor.is_at_rest = True

    assert seen.read(*[300] * 4) == 1
    seen.supervisor.is_at_rest = False
    assert seen.read(*[300] * 4) == 2


def test_a_group_of_which_one_slot_is_paused_keeps_its_number() -> None:
    slots = [SimpleNamespace(number=at, slot=SimpleNamespace(wanted=True, state=SlotState.RUNNING)) for at in (0, 1)]
    seen = SimpleNamespace(slots=lambda _: slots, paused=Paused())
    rests = partial(Supervisor.rests, cast("Any", seen))

    before = rests("orders")
    seen.paused = Paused().of_slot("orders", 1, on=True)

    assert (before, rests("orders")) == (False, True)
    seen.paused = Paused().of_group("orders", on=True).of_slot("orders", 1, on=False)
    assert rests("orders")
    seen.paused = Paused().of_slot("orders", 7, on=True)
    assert not rests("orders"), "it is no slot of the group any more"


def test_other_supervisors_take_their_share() -> None:
    seen = rig()
    others = (GroupMember("b-orders-0", "10.0.0.2", 1), GroupMember("c-orders-0", "10.0.0.3", 1))

    for _ in range(30):
        seen.read(*[300] * 9, members=others)

    assert seen.supervisor.groups["orders"] == 3


def test_a_time_that_nobody_watched_counts_for_nothing() -> None:
    seen = rig(workers=2)
    seen.read(0, 0)

    assert seen.read(0, 0, after=RULES.cooldown + GAP) == 2
    for _ in range(61):
        seen.read(0, 0)
    assert seen.supervisor.groups["orders"] == 1


def test_a_group_that_is_gone_is_no_error() -> None:
    rig().sizing.heard("payments", GroupLag(1, 0.0))


def test_what_waits_in_retry_topics_asks_for_no_worker() -> None:
    rigged = rig()

    assert rigged.read(900, 900, 900, topic="t.retry.5s") == 1
    assert rigged.read(900, 900, 900, after=60.0) == 2
