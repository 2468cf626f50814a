"""Does each group make progress? What ``/readyz`` answers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot

NAMED = 3


@dataclass(frozen=True, slots=True)
class GroupReadiness:
    """Whether a group meets its progress rule; ``text`` says why not, or why nothing needs to move."""

    name: str
    is_ready: bool
    text: str = ""


def readiness(snapshot: Snapshot) -> tuple[GroupReadiness, ...]:
    """Judge every group.

    A group is ready while a worker of it has joined and progresses, or waits for a stated reason, and when operators
    want nothing of it to run. Slots that are paused singly are not who it is judged by, while there are others. A
    supervisor that was just started is not ready until every group is.
    """
    return tuple(_of(group) for group in snapshot.groups)


def progresses(slot: SlotSnapshot) -> bool:
    """Tell whether a slot does its part of the group's work."""
    return slot.state is SlotState.RUNNING and slot.joined and slot.healthy is not False


def _of(group: GroupSnapshot) -> GroupReadiness:
    wanted = [slot for slot in group.slots if slot.state is not SlotState.STOPPED]
    if not wanted:
        return GroupReadiness(group.name, is_ready=True, text="stopped by an operator")
    judged = [slot for slot in wanted if not slot.paused] or wanted
    if any(progresses(slot) for slot in judged):
        return GroupReadiness(group.name, is_ready=True, text=_paused(group))
    text = f"no worker progresses: {_named([_words(slot) for slot in wanted])}"
    return GroupReadiness(group.name, is_ready=False, text=text)


def _paused(group: GroupSnapshot) -> str:
    if group.paused:
        return "paused by an operator"
    paused = [f"{slot.group}/{slot.slot} paused by an operator" for slot in group.slots if slot.paused]
    return _named(paused) if paused else ""


def _named(words: Sequence[str]) -> str:
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return "; ".join(words[:NAMED]) + more


def _words(slot: SlotSnapshot) -> str:
    what: str = slot.state.value
    if slot.state is SlotState.RUNNING:
        what = "joins the group" if not slot.joined else "stands still"
    if slot.paused and progresses(slot):
        what = "is paused"
    return f"{slot.group}/{slot.slot} {what}" + (f" ({slot.reason})" if slot.reason else "")
