"""Have slots finish all they hold, which a stop does not wait for, and then leave their group."""

from collections.abc import Sequence

from supervisor.core.durations import format_duration
from supervisor.core.slot import Stop
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End
from supervisor.parent.groups.rolling import MARGIN, longest_stop
from supervisor.parent.running.operations import OperationError, Say
from supervisor.parent.slots.runner import SlotRunner
from supervisor.parent.supervisor import Supervisor


async def drain(runners: Sequence[SlotRunner], supervisor: Supervisor, say: Say, *, patience: float) -> None:
    """Read no more, settle what was read (queued records and due retries, too), commit, leave, and stay down.

    Raises ``OperationError`` after ``patience`` seconds; the slots work on then.
    """
    for runner in runners:
        runner.pause(on=True)
    is_done = False
    try:
        is_done = await supervisor.changes.until(lambda: all(map(_holds_nothing, runners)), patience)
    finally:
        if not is_done:
            for runner in runners:
                runner.pause(on=supervisor.paused.holds(runner.group.name, runner.number))
    if not is_done:
        held = ", ".join(_held(runner) for runner in runners if not _holds_nothing(runner))
        text = f"after {format_duration(patience)} records are still held, and worked on: {held}"
        raise OperationError(text)
    for runner in runners:
        say(f"{runner.name} holds nothing more")
        runner.feed(Stop(End.LEAVE))
    longest = max(longest_stop(runner.group.policy) for runner in runners) + MARGIN
    is_down = await supervisor.changes.until(lambda: all(runner.is_down for runner in runners), longest)
    for runner in runners:
        runner.pause(on=supervisor.paused.holds(runner.group.name, runner.number))  # for when it is started again
    if not is_down:
        names = ", ".join(runner.name for runner in runners if not runner.is_down)
        text = f"drained, but not down after {format_duration(longest)}: {names}"
        raise OperationError(text)


def _holds_nothing(runner: SlotRunner) -> bool:
    if runner.slot.state is not SlotState.RUNNING:
        return runner.child is None
    stats = runner.stats
    return stats is not None and stats.paused and not stats.in_flight and not stats.queued


def _held(runner: SlotRunner) -> str:
    stats = runner.stats
    count = f"{stats.in_flight + stats.queued} records" if stats is not None else "nobody knows how many"
    return f"{runner.name} ({count})"
