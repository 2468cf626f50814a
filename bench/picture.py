"""A supervisor of 64 workers and 1,000 partitions as its metrics see it, made up: no process is behind any slot."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from supervisor.core.events import Event, Severity
from supervisor.core.histogram import RECORDS, SECONDS, WAITS, Histogram
from supervisor.core.lag import GroupLag, GroupMember, PartitionLag
from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.core.worker_stats import PartitionStats, WorkerStats
from supervisor.parent.slots.tallies import Tallies
from supervisor.parent.supervisor import Supervisor

GROUPS = 4


class Picture:
    """What ``parent.metrics.scraping`` asks of a supervisor; each snapshot is made anew, as the real one's is."""

    def __init__(self, workers: int, partitions: int) -> None:
        self._slots = workers // GROUPS
        self._partitions = partitions // GROUPS
        self.tallies = Tallies()
        self.runners = {(f"group-{group}", slot): None for group in range(GROUPS) for slot in range(self._slots)}
        self.stopping = False
        self.events = SimpleNamespace(tell=lambda *_, **__: None)
        self._stats = {key: self._worker(*key) for key in self.runners}
        self._lag = {f"group-{group}": self._lag_of(f"topic-{group}") for group in range(GROUPS)}
        for key, stats in self._stats.items():
            self.tallies.told(key, None, stats)
            self.tallies.used(key, 12.5)
        for number in range(40):
            self.tallies.hear(Event(f"event.number_{number}", Severity.INFO, at=0.0))

    @property
    def supervisor(self) -> Supervisor:
        """Itself, as what it stands in for."""
        return cast("Supervisor", self)

    def snapshot(self) -> Snapshot:
        """Return what the supervisor's own would be."""
        groups = tuple(self._group(f"group-{number}", f"topic-{number}") for number in range(GROUPS))
        return Snapshot("bench", "0", 1, at=time.time(), uptime=60.0, groups=groups)

    def _group(self, name: str, topic: str) -> GroupSnapshot:
        slots = tuple(
            SlotSnapshot(
                group=name,
                slot=slot,
                state=SlotState.RUNNING,
                pid=1000 + slot,
                uptime=50.0,
                incarnation=1,
                joined=True,
                records_per_s=100.0,
                rss_bytes=60_000_000,
                cpu_percent=12.0,
                stats=self._stats[name, slot],
                healthy=True,
                open_fds=30,
                threads=12,
            )
            for slot in range(self._slots)
        )
        return GroupSnapshot(name, (topic,), self._slots, slots, lag=replace(self._lag[name], age=1.0))

    def _worker(self, group: str, slot: int) -> WorkerStats:
        topic = group.replace("group", "topic")
        mine = range(slot, self._partitions, self._slots)
        return WorkerStats(
            settled=100_000,
            waits="eof",
            partitions=tuple(PartitionStats(topic, partition, 5000, 3, gap=1) for partition in mine),
            received=100_000,
            commit_errors={"NOT_COORDINATOR": 2},
            rebalances={"assigned": 3, "revoked": 2},
            handled=Histogram((1000,) * (len(SECONDS) + 1), 60.0),
            polled=Histogram((1000,) * (len(RECORDS) + 1), 1e6),
            committing=Histogram((1000,) * (len(WAITS) + 1), 60.0),
        )

    def _lag_of(self, topic: str) -> GroupLag:
        rows = tuple(PartitionLag(topic, part, 5000, 5003, 3, owner="a") for part in range(self._partitions))
        members = tuple(GroupMember(f"bench-{slot}", "host", 1, is_ours=True) for slot in range(self._slots))
        return GroupLag(total=3 * len(rows), age=1.0, partitions=rows, members=members)
