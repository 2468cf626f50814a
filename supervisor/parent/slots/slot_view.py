"""What people may see of a slot: its machine's state and what is known of its worker, as one value."""

from supervisor.core.slot import Slot
from supervisor.core.snapshot import SlotSnapshot, SlotState
from supervisor.parent.slots.telemetry import Telemetry


def shown(  # noqa: PLR0913 - what a slot is made of
    key: tuple[str, int], slot: Slot, pid: int | None, seen: Telemetry | None, *, note: str, paused: bool, now: float
) -> SlotSnapshot:
    """Return the snapshot of a slot; ``note`` is why its start waits, ``seen`` what is known of a live worker."""
    waits = slot.state is SlotState.BACKOFF or (slot.state is SlotState.LEAVING and slot.after is SlotState.BACKOFF)
    group, number = key
    return SlotSnapshot(
        group=group,
        slot=number,
        state=slot.state,
        pid=pid,
        uptime=round(now - seen.since, 3) if seen else None,
        incarnation=slot.incarnation,
        restarts=slot.restarts,
        joined=slot.joined,
        reason=_reason(slot, note or slot.reason, waits=waits),
        next_start_in=round(max(0.0, slot.start_at - now), 3) if waits and not slot.parked else None,
        records_per_s=seen.records_per_s(now=now) if seen else None,
        rss_bytes=seen.reading.rss_bytes if seen else None,
        cpu_percent=seen.reading.cpu_percent if seen else None,
        stats=seen.stats if seen else None,
        paused=paused,
        healthy=seen.verdict.healthy if seen and slot.ready else None,
        open_fds=seen.reading.open_fds if seen else None,
        threads=seen.reading.threads if seen else None,
        after=slot.after if slot.state is SlotState.LEAVING else None,
    )


def _reason(slot: Slot, reason: str, *, waits: bool) -> str:
    if slot.held and slot.state is SlotState.RUNNING:
        return "held: stays down when it next exits"
    if waits and slot.parked:
        return "waits for its group's canary" + (f": {reason}" if reason else "")
    return reason
