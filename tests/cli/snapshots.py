"""Snapshots to look at, for the tests of the command line."""

from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.core.worker_stats import PartitionStats, WorkerStats


def part(number: int, topic: str = "orders", *, committed: int = 0) -> PartitionStats:
    return PartitionStats(topic=topic, partition=number, committed=committed, lag=0, gap=0)


def stats(*partitions: PartitionStats, lag: int | None = 0, **gauges: object) -> WorkerStats:
    return WorkerStats(partitions=partitions, lag=lag, **gauges)  # type: ignore[arg-type]


def running(slot: int, *, group: str = "orders", incarnation: int = 1, pid: int = 4711) -> SlotSnapshot:
    return SlotSnapshot(
        group=group,
        slot=slot,
        state=SlotState.RUNNING,
        pid=pid,
        uptime=11520.0,
        incarnation=incarnation,
        restarts=incarnation - 1,
        joined=True,
        records_per_s=12_400.0,
        rss_bytes=41_000_000,
        cpu_percent=38.2,
        stats=stats(part(0), part(4), part(8), lag=31, oldest=0.04, in_flight=1),
    )


def down(slot: int, state: SlotState, reason: str = "", *, group: str = "orders", incarnation: int = 1) -> SlotSnapshot:
    return SlotSnapshot(group=group, slot=slot, state=state, incarnation=incarnation, restarts=7, reason=reason)


def snapshot(*slots: SlotSnapshot, topics: tuple[str, ...] = ("orders",), pid: int = 4000) -> Snapshot:
    names = dict.fromkeys(slot.group for slot in slots)
    groups = tuple(
        GroupSnapshot(name, topics, workers=len(own), slots=own)
        for name in names
        for own in [tuple(slot for slot in slots if slot.group == name)]
    )
    return Snapshot(supervisor="web-1", version="0.1.0", pid=pid, at=1e9, uptime=61.0, groups=groups)
