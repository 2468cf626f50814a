"""What a supervisor's metrics are at one moment: from values to samples of the catalogue. Pure.

Bounded whatever Kafka and workers say: beyond ``MOST_PARTITIONS`` and ``MOST_TOPICS`` only sums are shown, and
``series_omitted`` says how many were left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from supervisor.core.board import Wait
from supervisor.core.exits import ExitClass
from supervisor.core.histogram import Exemplar, Histogram
from supervisor.core.lag import GroupLag, PartitionLag
from supervisor.core.readiness import progresses, readiness
from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.core.totals import GroupTotals, SlotTotals
from supervisor.core.worker_stats import PartitionStats, WorkerStats

MOST_PARTITIONS = 2000
MOST_TOPICS = 500

SlotKey = tuple[str, int]
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Others:
    """What parts beside the slots add. ``children``: which helpers run.

    ``alerts`` counts what was given to the notifier by name and severity, ``alerts_dropped`` what it had no room for;
    ``deliveries`` counts by alert plugin and outcome, ``queued`` what waits, by plugin. ``firing`` are the conditions
    that hold now, by name and severity.
    """

    children: Mapping[str, bool] = field(default_factory=dict)
    alerts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    alerts_dropped: int = 0
    firing: tuple[tuple[str, str], ...] = ()
    deliveries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    queued: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """All that metrics are made of. Its values never change: another thread may read it.

    ``exits`` counts by group and class, ``events`` by name and severity, ``cpu_seconds`` by slot.
    """

    snapshot: Snapshot
    python: str = ""
    slots: Mapping[SlotKey, SlotTotals] = field(default_factory=dict)
    groups: Mapping[str, GroupTotals] = field(default_factory=dict)
    cpu_seconds: Mapping[SlotKey, float] = field(default_factory=dict)
    exits: Mapping[tuple[str, str], int] = field(default_factory=dict)
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    others: Others = field(default_factory=Others)
    loop_lag: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric of the catalogue, its labels in the catalogue's order."""

    metric: str
    labels: Labels
    value: float | Histogram
    exemplars: tuple[Exemplar, ...] = ()


def samples(scene: Scene) -> Iterator[Sample]:
    """Yield every sample; those of one metric may come apart."""
    yield from _of_supervisor(scene)
    ready = {one.name: one.is_ready for one in readiness(scene.snapshot)}
    for group in scene.snapshot.groups:
        yield Sample("group_ready", (group.name,), ready[group.name])
        yield from _of_group(scene, group)
        for slot in group.slots:
            yield from _of_slot(scene, slot)
    yield from _of_partitions(scene.snapshot.groups)


def _of_supervisor(scene: Scene) -> Iterator[Sample]:
    snapshot = scene.snapshot
    yield Sample("build", (snapshot.version, scene.python), 1)
    yield Sample("start_time_seconds", (), round(snapshot.at - snapshot.uptime, 3))
    yield Sample("loop_lag_seconds", (), scene.loop_lag)
    for child, is_running in scene.others.children.items():
        yield Sample("child_running", (child,), is_running)
    for labels, count in scene.others.alerts.items():
        yield Sample("alerts", labels, count)
    yield Sample("alerts_dropped", (), scene.others.alerts_dropped)
    for labels, count in scene.others.deliveries.items():
        yield Sample("alert_deliveries", labels, count)
    for plugin, count in scene.others.queued.items():
        yield Sample("alerts_queued", (plugin,), count)
    for labels in dict.fromkeys(scene.others.firing):
        yield Sample("alerts_firing", labels, scene.others.firing.count(labels))
    for labels, count in scene.events.items():
        yield Sample("events", labels, count)
    # From zero on: what is first seen as 1 did not increase for those who look at increases.
    nothing = {(group.name, kind.value): 0 for group in snapshot.groups for kind in ExitClass}
    for labels, count in (nothing | dict(scene.exits)).items():
        yield Sample("worker_exits", labels, count)


def _of_group(scene: Scene, group: GroupSnapshot) -> Iterator[Sample]:
    labels = (group.name,)
    yield Sample("group_paused", labels, group.paused)
    yield Sample("group_half_open", labels, bool(group.condition))
    yield Sample("group_breaker_open", labels, group.breaker is not None)
    yield Sample("group_flood_tripped", labels, group.flood is not None)
    yield Sample("group_slots_wanted", labels, group.workers)
    for state in SlotState:
        yield Sample("group_slots", (group.name, state.value), sum(slot.state is state for slot in group.slots))
    totals = scene.groups.get(group.name, GroupTotals())
    yield Sample("handler_seconds", labels, totals.handled, totals.exemplars)
    yield Sample("poll_records", labels, totals.polled)
    if totals.batches.counts:
        yield Sample("batch_records", labels, totals.batches)
    yield Sample("commit_seconds", labels, totals.committing)
    yield from _of_lag(labels, group.lag)


def _of_lag(labels: Labels, lag: GroupLag | None) -> Iterator[Sample]:
    if lag is None:
        return
    if lag.age is not None:
        yield Sample("group_lag_age_seconds", labels, lag.age)
    if lag.total is None:
        return
    yield Sample("group_lag_records", labels, lag.total)
    yield Sample("group_partitions", labels, len(lag.partitions))
    if lag.members is not None:
        yield Sample("group_members", labels, len(lag.members))
        yield Sample("group_unowned_partitions", labels, len(lag.unowned))


def _of_slot(scene: Scene, slot: SlotSnapshot) -> Iterator[Sample]:
    key = (slot.group, slot.slot)
    labels = (slot.group, str(slot.slot))
    totals = scene.slots.get(key, SlotTotals())
    yield Sample("slot_progressing", labels, progresses(slot))
    yield Sample("slot_paused", labels, slot.paused)
    yield Sample("worker_starts", labels, slot.incarnation)
    if slot.uptime is not None:
        yield Sample("worker_start_time_seconds", labels, round(scene.snapshot.at - slot.uptime, 1))
    readings = {
        "worker_resident_memory_bytes": slot.rss_bytes,
        "worker_open_fds": slot.open_fds,
        "worker_threads": slot.threads,
    }
    for name, reading in readings.items():
        if reading is not None:
            yield Sample(name, labels, reading)
    yield Sample("worker_cpu_seconds", labels, round(scene.cpu_seconds.get(key, 0.0), 2))
    for name, of_totals in _COUNTERS.items():
        yield Sample(name, labels, of_totals(totals))
    for name, named in (
        ("records_dead_lettered", _DISPOSITIONS | dict(totals.letters)),
        ("commit_failures", totals.commit_errors),
        ("rebalances", _REBALANCES | dict(totals.rebalances)),
    ):
        for which, count in named.items():
            yield Sample(name, (*labels, which), count)
    if slot.stats is not None:
        yield from _of_worker(labels, slot.stats)


_COUNTERS: Mapping[str, Callable[[SlotTotals], int]] = {
    "records_received": lambda totals: totals.received,
    "records_settled": lambda totals: totals.settled,
    "attempts_failed": lambda totals: totals.failed_attempts,
    "records_retried": lambda totals: totals.retried,
    "records_dropped": lambda totals: totals.dropped,
    "records_copied": lambda totals: totals.copied,
    "records_duplicate": lambda totals: totals.duplicates,
    "commits": lambda totals: totals.commits,
    "partition_pauses": lambda totals: totals.pauses,
}
# From zero on, as exits: letters of a first burst would be no increase.
_DISPOSITIONS = dict.fromkeys(("error", "timeout", "worker-killed", "deserialization", "plugin-error", "breaker"), 0)
_REBALANCES = dict.fromkeys(("assigned", "revoked", "lost"), 0)
_REASONS = frozenset(wait.name.lower() for wait in Wait if wait is not Wait.NONE)


def _of_worker(labels: Labels, stats: WorkerStats) -> Iterator[Sample]:
    yield Sample("records_in_flight", labels, stats.in_flight)
    yield Sample("records_queued", labels, stats.queued)
    yield Sample("queued_bytes", labels, stats.queued_bytes)
    yield Sample("queue_fill_ratio", labels, stats.queue_fill)
    yield Sample("oldest_unsettled_seconds", labels, stats.oldest)
    yield Sample("partitions_owned", labels, stats.owned)
    yield Sample("partitions_paused", labels, stats.paused_partitions)
    yield Sample("partitions_stopped", labels, sum(bool(one.stopped) for one in stats.partitions))
    if stats.waits in _REASONS:
        yield Sample("slot_waiting", (*labels, stats.waits), 1)


def _of_partitions(groups: Iterable[GroupSnapshot]) -> Iterator[Sample]:
    """Yield what there is of partitions and topics, within the bounds; the same ones each time."""
    left, left_topics = MOST_PARTITIONS, MOST_TOPICS
    omitted = omitted_topics = 0
    for group in groups:
        rows = _rows(group)
        by_topic: dict[str, int] = {}
        for row in rows:
            if row.lag is not None:
                by_topic[row.topic] = by_topic.get(row.topic, 0) + row.lag
        for topic, lag in list(by_topic.items())[:left_topics]:
            yield Sample("topic_lag_records", (group.name, topic), lag)
        omitted_topics += max(0, len(by_topic) - left_topics)
        left_topics -= min(left_topics, len(by_topic))
        gaps = {(one.topic, one.partition): one.gap for one in _owned(group)}
        for row in rows[:left]:
            yield from _of_partition((group.name, row.topic, str(row.partition)), row, gaps.get(row.place))
        omitted += max(0, len(rows) - left)
        left -= min(left, len(rows))
    yield Sample("series_omitted", ("partition",), omitted)
    yield Sample("series_omitted", ("topic",), omitted_topics)


def _of_partition(labels: Labels, row: PartitionLag, gap: int | None) -> Iterator[Sample]:
    if row.lag is not None:
        yield Sample("partition_lag_records", labels, row.lag)
    if row.committed >= 0:
        yield Sample("partition_committed_offset", labels, row.committed)
    if row.end >= 0:
        yield Sample("partition_end_offset", labels, row.end)
    if gap is not None:
        yield Sample("partition_gap_records", labels, gap)


def _rows(group: GroupSnapshot) -> list[PartitionLag]:
    """Return a group's partitions as the inspector read them, and those it did not as their workers tell.

    Lag is by workers only where nobody is to look: else a sum over some partitions would pass for that over all.
    """
    is_looked_at = group.lag is not None
    rows = [
        PartitionLag(one.topic, one.partition, one.committed, -1, None if is_looked_at else one.lag)
        for one in _owned(group)
    ]
    read = group.lag.partitions if group.lag is not None else ()
    found = {row.place: row for row in (*rows, *read)}
    return [found[place] for place in sorted(found)]


def _owned(group: GroupSnapshot) -> Iterator[PartitionStats]:
    for slot in group.slots:
        if slot.stats is not None:
            yield from slot.stats.partitions
