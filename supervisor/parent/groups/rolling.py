"""Give slots new processes one at a time, so that the rest of the group works on and does not even notice."""

from collections.abc import Callable, Iterable
from typing import Literal

from supervisor.core.durations import format_duration
from supervisor.core.slot import Policy, Process, Restart, Start, Stop
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End
from supervisor.parent.groups.changes import Changes
from supervisor.parent.plan import GroupPlan
from supervisor.parent.slots.runner import SlotRunner

MARGIN = 10.0
Leaving = Literal["none", "last", "all"]
"""Which slots leave their group before they start again; the others stay members."""
UP = (SlotState.STARTING, SlotState.RUNNING, SlotState.DRAINING)
FAILED = (SlotState.BACKOFF, SlotState.FATAL, SlotState.STOPPED, SlotState.LEAVING)


class RollError(Exception):
    """A slot did not come back; the text says which one and what is known of it."""


def longest_stop(policy: Policy) -> float:
    """Return how many seconds the slowest stop of a slot takes, leaving in a dead one's name included."""
    rungs = policy.term_timeout + policy.abort_timeout + policy.kill_timeout
    leaving = 2 * (policy.leave_timeout + rungs) if policy.is_static else 0.0
    return policy.stop_timeout + policy.close_timeout + rungs + leaving


class Roll:
    """One way over a group's slots. ``slots`` are asked for anew before each step: a group may be scaled meanwhile."""

    def __init__(self, slots: Callable[[], Iterable[SlotRunner]], changes: Changes, say: Callable[[str], None]) -> None:
        self._slots = slots
        self._changes = changes
        self._say = say

    async def replace(self, old: GroupPlan, new: GroupPlan, *, leaving: Leaving = "none") -> None:
        """Bring every slot from ``old`` to ``new``; when one does not come back, all go back to ``old``.

        Raises ``RollError`` then, once they are back or could not be brought back.
        """
        try:
            await self._to(new, leaving=leaving)
        except RollError as error:
            self._say(f"{error}; going back")
            try:
                await self._to(old, leaving=leaving, all_come_back=True)
            except RollError as second:
                text = f"{error}; and on the way back {second}"
                raise RollError(text) from error
            raise

    async def restart(self) -> None:
        """Give every slot that runs a new process with the same plan; stop at the first that does not come back."""
        done: set[int] = set()
        while (runner := next((one for one in self._slots() if one.number not in done), None)) is not None:
            done.add(runner.number)
            if runner.slot.state in UP:
                await self._renew(runner, leave=False)

    async def _to(self, plan: GroupPlan, *, leaving: Leaving, all_come_back: bool = False) -> None:
        while waiting := [runner for runner in self._slots() if runner.group is not plan]:
            runner = min(waiting, key=_order)
            leave = leaving == "all" or (leaving == "last" and len(waiting) == 1)
            is_waited_for = runner.slot.state in UP or (all_come_back and runner.slot.wanted)
            await self._while_asked(runner, plan.policy.start_timeout)
            runner.replan(plan)
            if is_waited_for:
                await self._renew(runner, leave=leave)
            elif runner.slot.wanted:
                runner.feed(Restart())  # down before: its coming back proves nothing, nor does its failing

    async def _while_asked(self, runner: SlotRunner, patience: float) -> None:
        """Let a process come that was asked for already; what it is told may be of before."""
        await self._changes.until(lambda: runner.slot.process is not Process.ASKED, patience)

    async def _renew(self, runner: SlotRunner, *, leave: bool) -> None:
        """Restart one slot and wait until its new process is a member of the group and ready."""
        policy = runner.group.policy
        if leave:
            runner.feed(Stop(End.LEAVE))
            await self._changes.until(lambda: runner.is_down, longest_stop(policy) + MARGIN)
        before = runner.slot.incarnation
        runner.feed(Start() if leave else Restart())
        await self._changes.until(
            lambda: runner.slot.incarnation > before or not runner.slot.wanted, longest_stop(policy) + MARGIN
        )
        patience = policy.start_timeout + MARGIN
        is_over = await self._changes.until(lambda: is_back(runner, before) or _is_lost(runner, before), patience)
        if runner not in self._slots():
            return  # scaled away meanwhile
        if not is_back(runner, before):
            raise RollError(_why(runner, patience, is_over=is_over))
        self._say(f"{runner.name} runs (pid {runner.child.pid if runner.child else '-'})")


def is_back(runner: SlotRunner, before: int) -> bool:
    """Tell whether the incarnation after ``before`` is ready and has joined its group."""
    slot = runner.slot
    return slot.incarnation == before + 1 and slot.state is SlotState.RUNNING and slot.ready and slot.joined


def _is_lost(runner: SlotRunner, before: int) -> bool:
    slot = runner.slot
    is_failed = slot.incarnation > before and slot.state in FAILED
    return is_failed or slot.incarnation > before + 1 or not slot.wanted


def _order(runner: SlotRunner) -> tuple[bool, int]:
    """Those that are down first: the last one must be a member that can leave."""
    return runner.slot.state in UP, runner.number


def _why(runner: SlotRunner, patience: float, *, is_over: bool) -> str:
    slot = runner.slot
    if not slot.wanted:
        return f"{runner.name} was stopped by an operator meanwhile"
    if not is_over:
        lacks = "ready" if not slot.ready else "in its group (is the broker reached?)"
        return f"{runner.name} is not {lacks} after {format_duration(patience)}"
    return f"{runner.name} died" + (f": {slot.reason}" if slot.reason else "")
