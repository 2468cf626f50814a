"""What a new configuration changes for each group, and so what must become of its workers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import assert_never

from supervisor.core.retry_topics import subscription
from supervisor.core.spec import GroupSpec, WorkerSpec

ASSIGNOR = "partition.assignment.strategy"
_PER_PROCESS = {"group", "slot", "incarnation", "mode", "parent_pid"}


class Change(StrEnum):
    """What a reload does to a group.

    ``RULES``: only the parent's own numbers changed, no process notices. ``TOPICS``: rolled, and the last slot leaves
    the group before it starts again: only that makes the group read new subscriptions. ``FEWER_TOPICS``: every slot
    leaves as it is rolled; one that stays a member keeps partitions of the old topics. ``RESTARTED``: members of the
    old and the new kind cannot be in one group, so it stops as a whole.
    """

    UNCHANGED = "unchanged"
    RULES = "rules"
    ROLLED = "rolled"
    TOPICS = "topics"
    FEWER_TOPICS = "fewer-topics"
    RESTARTED = "restarted"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Shape:
    """All of a group that can change. ``spec`` is of any one incarnation; ``rules`` only the parent uses."""

    workers: int
    spec: WorkerSpec
    rules: tuple[object, ...] = ()
    more: tuple[object, ...] = ()
    """What else its processes depend on, such as how they are started."""


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One group of the old or the new configuration; ``keys`` names what differs, never with values (P10).

    ``workers`` is the number of slots that is configured before and after.
    """

    name: str
    change: Change
    keys: tuple[str, ...] = ()
    workers: tuple[int, int] = (0, 0)

    @property
    def is_resized(self) -> bool:
        """Whether the configured number of slots changed; else what an operator scaled it to holds."""
        return self.workers[0] != self.workers[1]

    @property
    def text(self) -> str:
        """The change as one line for people, without the group's name."""
        size = f"workers {self.workers[0]} to {self.workers[1]}" if self.is_resized else ""
        match self.change:
            case Change.UNCHANGED:
                return size or "unchanged"
            case Change.ADDED | Change.REMOVED:
                return self.change.value
            case Change.RULES:
                what = "applied without a restart"
            case Change.TOPICS:
                what = "rolled, the last slot leaves for a moment"
            case Change.FEWER_TOPICS:
                what = "rolled, each slot leaves for a moment"
            case Change.RESTARTED:
                what = "stopped and started as a whole"
            case Change.ROLLED:
                what = "rolled"
            case _:
                assert_never(self.change)
        return ", ".join(part for part in (f"{what} ({', '.join(self.keys)})", size) if part)


def plan_diff(old: Mapping[str, Shape], new: Mapping[str, Shape]) -> tuple[GroupChange, ...]:
    """Return what becomes of every group, those that go first: what they free may be what the new ones need."""
    gone = [GroupChange(name, Change.REMOVED, (), (old[name].workers, 0)) for name in old if name not in new]
    return (*gone, *(_change(name, old.get(name), shape) for name, shape in new.items()))


def _change(name: str, old: Shape | None, new: Shape) -> GroupChange:
    if old is None:
        return GroupChange(name, Change.ADDED, (), (0, new.workers))
    keys = _changed_keys(old.spec, new.spec)
    if _is_of_another_kind(old.spec.group, new.spec.group):
        change = Change.RESTARTED
    elif set(before := subscription(old.spec.group)) != set(after := subscription(new.spec.group)):
        is_subset = set(before) <= set(after)
        change = Change.TOPICS if is_subset else Change.FEWER_TOPICS
    elif keys or old.more != new.more:
        change = Change.ROLLED
        keys = keys or ("processes",)
    elif old.rules != new.rules:
        change, keys = Change.RULES, ("supervision",)
    else:
        change = Change.UNCHANGED
    return GroupChange(name, change, keys, (old.workers, new.workers))


def _is_of_another_kind(old: GroupSpec, new: GroupSpec) -> bool:
    return old.protocol != new.protocol or old.kafka.get(ASSIGNOR) != new.kafka.get(ASSIGNOR)


def _changed_keys(old: WorkerSpec, new: WorkerSpec) -> tuple[str, ...]:
    own = [f.name for f in fields(old) if f.name not in _PER_PROCESS and getattr(old, f.name) != getattr(new, f.name)]
    before, after = old.group, new.group
    group = [f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)]
    if set(before.topics) == set(after.topics) and "topics" in group:
        group.remove("topics")  # a subscription has no order
    if "kafka" in group:
        changed = before.kafka.items() ^ after.kafka.items()
        group[group.index("kafka")] = " ".join(sorted({f"kafka.{key}" for key, _ in changed}))
    return (*group, *own)
