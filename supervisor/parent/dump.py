"""Say where everything stands, in the log: for somebody who looks into what does not move."""

import logging
from collections.abc import Iterable

from supervisor.core.snapshot import SlotSnapshot
from supervisor.parent.runner import SlotRunner
from supervisor.parent.supervisor import Supervisor

logger = logging.getLogger(__name__)


def dump(supervisor: Supervisor, runners: Iterable[SlotRunner]) -> tuple[str, ...]:
    """Log the state of each slot and have its worker write the stacks of its threads; return whose could be asked."""
    snapshot = supervisor.snapshot()
    fields = {
        "pid": snapshot.pid,
        "version": snapshot.version,
        "uptime": snapshot.uptime,
        "slots": len(supervisor.runners),
    }
    logger.warning("supervisor.state", extra={"fields": fields})
    dumped = []
    for runner in runners:
        logger.warning("slot.stands", extra={"fields": _fields(runner.snapshot())})
        if runner.dump():
            dumped.append(runner.name)
    return tuple(dumped)


def _fields(slot: SlotSnapshot) -> dict[str, object]:
    fields: dict[str, object] = {
        "group": slot.group,
        "slot": slot.slot,
        "state": slot.state.value,
        "text": slot.reason,
        "pid": slot.pid,
        "incarnation": slot.incarnation,
        "restarts": slot.restarts,
        "uptime": slot.uptime,
        "joined": slot.joined,
        "paused": slot.paused,
        "next_start_in": slot.next_start_in,
    }
    if slot.stats is not None:
        stats = slot.stats
        fields |= {"settled": stats.settled, "in_flight": stats.in_flight, "queued": stats.queued, "waits": stats.waits}
        fields |= {"partitions": len(stats.partitions), "oldest": round(stats.oldest, 3)}
    return {name: value for name, value in fields.items() if value is not None}
