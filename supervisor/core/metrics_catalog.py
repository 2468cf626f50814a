"""Every metric there is, as data: what ``/metrics`` shows, what docs, rules and dashboards may speak of."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from supervisor.core.histogram import RECORDS, SECONDS, WAITS

PREFIX = "kafka_supervisor_"


class Kind(StrEnum):
    """Types of metrics, in the words of OpenMetrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. ``name`` is without ``PREFIX`` and the suffix of its type; ``unit`` is its last word."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    bounds: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The family's name, as OpenMetrics has it."""
        return PREFIX + self.name

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its time series, as Prometheus stores them."""
        match self.kind:
            case Kind.COUNTER:
                return (f"{self.family}_total",)
            case Kind.INFO:
                return (f"{self.family}_info",)
            case Kind.HISTOGRAM:
                return tuple(f"{self.family}_{part}" for part in ("bucket", "count", "sum"))
            case _:
                return (self.family,)


def _gauge(name: str, text: str, *labels: str, unit: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, text, labels, unit)


def _counter(name: str, text: str, *labels: str, unit: str = "") -> Metric:
    return Metric(name, Kind.COUNTER, text, labels, unit)


def _histogram(name: str, bounds: tuple[float, ...], text: str, *labels: str, unit: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, text, labels, unit, bounds)


_SLOT = ("group", "slot")
_PARTITION = ("group", "topic", "partition")

_ALL = (
    # The supervisor itself.
    Metric("build", Kind.INFO, "Versions of the supervisor and of its Python.", ("version", "python")),
    _gauge("start_time_seconds", "When the supervisor began, in seconds since the epoch.", unit="seconds"),
    _histogram("loop_lag_seconds", WAITS, "How late the supervisor's own loop came to what was due.", unit="seconds"),
    _gauge("child_running", "Whether a helper process (inspector, notifier) runs.", "child"),
    _counter("events", "Events told, by their name and severity.", "name", "severity"),
    _counter("alerts", "Alerts given to the notifier, by their name and severity.", "name", "severity"),
    _counter("alerts_dropped", "Alerts for which there was no room before the notifier."),
    _counter("alert_deliveries", "Alerts by plugin and outcome: delivered, failed or dropped.", "plugin", "outcome"),
    _gauge("alerts_queued", "Alerts that wait for their plugin, or to be tried again.", "plugin"),
    _gauge("alerts_firing", "Conditions that hold now and were told.", "name", "severity"),
    _gauge("series_omitted", "Series left out because there are too many, by what they are of.", "kind"),
    # Groups and slots.
    _gauge("group_ready", "Whether the group meets its progress rule, as /readyz tells.", "group"),
    _gauge("group_paused", "Whether an operator has the group, every slot of it, read nothing.", "group"),
    _gauge("group_half_open", "Whether the group failed as a whole and one worker is tried first.", "group"),
    _gauge("group_breaker_open", "Whether the group waits for a dependency that is down.", "group"),
    _gauge("group_flood_tripped", "Whether the group holds because too many records became dead letters.", "group"),
    _gauge("group_slots_wanted", "Worker processes the group should have on this host.", "group"),
    _gauge("group_slots", "Slots of the group by state.", "group", "state"),
    _gauge("slot_progressing", "Whether the slot's worker has joined and progresses or waits for a reason.", *_SLOT),
    _gauge("slot_paused", "Whether an operator has the slot's worker read nothing, alone or with its group.", *_SLOT),
    _gauge("slot_waiting", "1 for the reason a worker states for settling nothing.", *_SLOT, "reason"),
    _counter("worker_starts", "Worker processes started in the slot.", *_SLOT),
    _counter("worker_exits", "Ends of worker processes by class (docs/exit-codes.md).", "group", "class"),
    _gauge("worker_start_time_seconds", "When the worker began, in seconds since the epoch.", *_SLOT, unit="seconds"),
    _gauge("worker_resident_memory_bytes", "Resident memory of the worker.", *_SLOT, unit="bytes"),
    _counter("worker_cpu_seconds", "Processor time used by the slot's workers.", *_SLOT, unit="seconds"),
    _gauge("worker_open_fds", "Open file descriptors of the worker.", *_SLOT),
    _gauge("worker_threads", "Threads of the worker.", *_SLOT),
    # Records.
    _counter("records_received", "Records taken from Kafka.", *_SLOT),
    _counter("records_settled", "Records that need no more work here, whatever became of them.", *_SLOT),
    _counter("attempts_failed", "Attempts that failed, whatever became of the record.", *_SLOT),
    _counter("records_retried", "Attempts to be made again.", *_SLOT),
    _counter("records_dead_lettered", "Dead letters written, by disposition.", *_SLOT, "disposition"),
    _counter("records_dropped", "Records let go by an explicit decision.", *_SLOT),
    _counter("records_copied", "Records copied to a retry topic, in which they wait.", *_SLOT),
    _counter("records_duplicate", "Records not worked because their key had been worked before.", *_SLOT),
    _gauge("records_in_flight", "Records, or runs of them, in their handlers now.", *_SLOT),
    _gauge("records_queued", "Records the worker holds unsettled.", *_SLOT),
    _gauge("queued_bytes", "Bytes of the records the worker holds unsettled.", *_SLOT, unit="bytes"),
    _gauge("queue_fill_ratio", "Share of queue_records or queue_bytes in use, the larger one.", *_SLOT, unit="ratio"),
    _gauge("oldest_unsettled_seconds", "Age of the oldest delivered record not settled.", *_SLOT, unit="seconds"),
    _histogram(
        "handler_seconds",
        SECONDS,
        "Time of a call of the handler; where it is fast, the mean of a run of calls.",
        "group",
        unit="seconds",
    ),
    _histogram("poll_records", RECORDS, "Records of each chunk taken from the client.", "group", unit="records"),
    _histogram("batch_records", RECORDS, "Records of each call of process_batch.", "group", unit="records"),
    # Offsets, lag, membership.
    _counter("commits", "Commits that were taken, of one partition at least.", *_SLOT),
    _counter("commit_failures", "Offsets whose commit failed, by librdkafka's error code.", *_SLOT, "code"),
    _histogram(
        "commit_seconds",
        WAITS,
        'Time from a commit to its answer; not known with commit.mode = "automatic".',
        "group",
        unit="seconds",
    ),
    _counter("rebalances", "Rebalance callbacks: assigned, revoked or lost.", *_SLOT, "kind"),
    _gauge("partitions_owned", "Partitions assigned to the worker.", *_SLOT),
    _gauge("partitions_paused", "Partitions the worker has paused.", *_SLOT),
    _gauge("partitions_stopped", "Partitions that wait for an operator to say where to go on.", *_SLOT),
    _counter("partition_pauses", "Times that a partition was paused.", *_SLOT),
    _gauge("group_lag_records", "Records before the group, over all its partitions.", "group", unit="records"),
    _gauge("group_lag_age_seconds", "Age of the last reading of the group's lag.", "group", unit="seconds"),
    _gauge("group_members", "Members of the group, on all hosts.", "group"),
    _gauge("group_partitions", "Partitions of the group's topics.", "group"),
    _gauge("group_unowned_partitions", "Partitions of the group that no member has.", "group"),
    _gauge("topic_lag_records", "Records before the group in a topic.", "group", "topic", unit="records"),
    _gauge(
        "partition_lag_records",
        "Records before the group in a partition, whoever owns it.",
        *_PARTITION,
        unit="records",
    ),
    _gauge("partition_committed_offset", "The group's committed offset; absent before the first commit.", *_PARTITION),
    _gauge("partition_end_offset", "Where the partition ends.", *_PARTITION),
    _gauge(
        "partition_gap_records",
        "Records of an owned partition that are settled or in work above the committable offset.",
        *_PARTITION,
        unit="records",
    ),
)

CATALOG: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}

PROCESS = {
    "process_virtual_memory_bytes": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_cpu_seconds_total": "counter",
    "process_open_fds": "gauge",
    "process_max_fds": "gauge",
}
"""What the client library's standard collector adds of the supervisor's own process, and its types (Linux)."""


def series_names() -> frozenset[str]:
    """Return the names of all time series that there can be."""
    return frozenset(name for metric in _ALL for name in metric.series) | frozenset(PROCESS)
