"""The whole supervisor in one line, for ``STATUS=`` of sd_notify(3): what ``systemctl status`` shows. Pure."""

from supervisor.core.durations import format_duration
from supervisor.core.snapshot import SlotSnapshot, SlotState, Snapshot

LONGEST = 400
NAMED = 3
_WORST_FIRST = (SlotState.FATAL, SlotState.BACKOFF, SlotState.LEAVING, SlotState.DRAINING, SlotState.STARTING)
_DOWN = (SlotState.STOPPED, SlotState.FATAL)


def status_line(snapshot: Snapshot, *, is_stopping: bool = False) -> str:
    """Return ``3/4 groups ok, 7/8 workers running; orders/2 backoff 16s: SIGSEGV at orders/1@812``.

    A group is ok when none of its slots is in trouble: waits after a failure, was given up, or is being ended
    because it hung; and nothing holds all of it back. What an operator stopped is no trouble.
    """
    slots = [slot for group in snapshot.groups for slot in group.slots]
    if is_stopping:
        busy = [slot for slot in slots if slot.state not in _DOWN]
        return _line(f"stopping: {len(slots) - len(busy)}/{len(slots)} workers down", busy)
    troubled = [slot for slot in slots if _is_troubled(slot)]
    held = [group for group in snapshot.groups if group.breaker is not None or group.flood is not None]
    ill = {slot.group for slot in troubled} | {group.name for group in held}
    running = sum(slot.state is SlotState.RUNNING for slot in slots)
    groups = len(snapshot.groups)
    head = f"{groups - len(ill)}/{groups} groups ok, {running}/{len(slots)} workers running"
    return _line("; ".join([head, *(f"{group.name} {group.condition}" for group in held[:NAMED])]), troubled)


def _is_troubled(slot: SlotSnapshot) -> bool:
    if slot.state in (SlotState.BACKOFF, SlotState.FATAL):
        return True
    return bool(slot.reason) and slot.state in (SlotState.STARTING, SlotState.DRAINING, SlotState.LEAVING)


def _line(head: str, slots: list[SlotSnapshot]) -> str:
    worst = sorted(slots, key=lambda slot: _WORST_FIRST.index(slot.state) if slot.state in _WORST_FIRST else -1)
    parts = [head, *(_slot(slot) for slot in worst[:NAMED])]
    if len(worst) > NAMED:
        parts.append(f"{len(worst) - NAMED} more")
    line = " ".join("; ".join(parts).split())  # a line end would begin another assignment
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def _slot(slot: SlotSnapshot) -> str:
    wait = f" {format_duration(float(int(slot.next_start_in)))}" if slot.next_start_in is not None else ""
    reason = f": {slot.reason}" if slot.reason else ""
    return f"{slot.group}/{slot.slot} {slot.state.value}{wait}{reason}"
