"""The names of what people can be told of, and so of what can be silenced: events and conditions. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from supervisor.core.alert_flow import AS_CONDITIONS, FIRING, RESOLVED
from supervisor.core.conditions import Kind
from supervisor.core.suggest import did_you_mean

EVENTS = (
    "accusations.unknown",
    FIRING,
    "alerts.held_back",
    "alerts.silences_lost",
    "alerts.silences_unkept",
    "broker.refused",
    "control.socket_restored",
    "control.unreachable",
    "dead_letter.moved",
    "dead_letter.unwritten",
    "group.fatal",
    "group.half_open",
    "group.idle_workers",
    "group.paused",
    "group.rejoined",
    "handler.blocks_loop",
    "handler.cancelled",
    "http.unavailable",
    "idempotency.hangs",
    "inspector.exited",
    "journal.corrupt",
    "journal.unwritable",
    "journal.written",
    "ledger.corrupt",
    "ledger.not_durable",
    "ledger.unread",
    "ledger.unwritable",
    "ledger.written",
    "limits.no_cgroup",
    "limits.no_cgroups",
    "log_file.unusable",
    "notifier.exited",
    "notifier.failed",
    "offsets.reset",
    "offsets.reset_failed",
    "partition.jumped",
    "partition.out_of_range",
    "partition.resume_refused",
    "partition.resumed",
    "record.convicted",
    "reload.failed",
    "retry_topic.missing",
    "retry_topic.unwritten",
    "slot.fatal",
    "spool.drained",
    "spool.left_over",
    "spool.stuck",
    "supervisor.lock_lost",
    "supervisor.lock_restored",
    "supervisor.stopping",
    "supervisor.was_gone",
    "topic.missing",
    "transactions.failing",
    "until_end.missed",
    "worker.exited",
    "worker.fenced",
    "worker.flapping",
    "worker.hung",
    "worker.overweight",
    "worker.poll_exceeded",
    "worker.recycled",
    "zygote.exited",
    "zygote.unfit",
)
"""Events that are, or may be, at least warnings. An ``alert.resolved`` is for whom was told of its beginning."""
CONDITIONS = tuple(kind.value for kind in Kind)


def is_told(name: str) -> bool:
    """Tell whether ``name``, which may be a pattern, is of anything that people can be told of."""
    return any(fnmatchcase(known, name) for known in (*CONDITIONS, *EVENTS))


def help_for(name: str) -> str:
    """Return what to write instead of a name that is of nothing."""
    if name in AS_CONDITIONS:
        return f"people are told of it as a condition: {AS_CONDITIONS[name]}"
    if name == RESOLVED:
        return f"who was told of a condition is told its end; silence {FIRING}, or one of: {_listed(CONDITIONS)}"
    first = name.partition(".")[0]
    near = [known for known in EVENTS if known.partition(".")[0] == first]
    firsts = dict.fromkeys(f"{known.partition('.')[0]}.*" for known in EVENTS)
    guess = did_you_mean(name, (*CONDITIONS, *EVENTS, *firsts))
    return f"{guess}conditions: {_listed(CONDITIONS)}; events: {_listed(near or firsts)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
