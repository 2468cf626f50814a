"""Say where everything stands, in the log and in events: for somebody who looks into what does not move."""

import asyncio
import logging
import signal
from collections.abc import Iterable

from supervisor.core.events import Severity
from supervisor.core.snapshot import SlotSnapshot
from supervisor.parent.deaths.crash import take_stacks
from supervisor.parent.processes.launcher import Child
from supervisor.parent.slots.runner import SlotRunner
from supervisor.parent.store.eventlog import EventLog
from supervisor.parent.supervisor import Supervisor

logger = logging.getLogger(__name__)
DUMP_TIME = 0.5
"""Seconds after which the stacks that a worker was asked for are there; one that does not run writes none."""


def dump(supervisor: Supervisor, runners: Iterable[SlotRunner]) -> tuple[str, ...]:
    """Log the state of each slot and have its worker write its stacks, which become events; return who was asked."""
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
        child = runner.child
        if child is not None and runner.hint(signal.SIGUSR1):
            dumped.append(runner.name)
            asyncio.get_running_loop().call_later(DUMP_TIME, _dumped, supervisor.events, runner, child)
    return tuple(dumped)


def _dumped(events: EventLog, runner: SlotRunner, child: Child) -> None:
    """Tell what the worker wrote; one that died meanwhile has it in its death."""
    if runner.child is not child:
        return
    stack = take_stacks(runner.file_path)
    events.tell(
        "worker.dumped",
        Severity.INFO,
        "stacks of all threads" if stack else f"wrote no stacks within {DUMP_TIME:g} s",
        group=runner.group.name,
        slot=runner.number,
        fields={"pid": child.pid, "incarnation": runner.slot.incarnation},
        attachments={"stack": stack} if stack else {},
    )


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
