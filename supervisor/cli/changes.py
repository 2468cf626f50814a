"""``supervisor reload | scale | pause | drain | dump``: what is done to groups while they run."""

import time
from collections.abc import Collection
from pathlib import Path

import click

from supervisor.cli.actions import seconds, timeout_option
from supervisor.cli.errors import CommandError
from supervisor.cli.following import EVERY, follow
from supervisor.cli.project import client, control_errors, socket_option
from supervisor.cli.table import remark
from supervisor.control.client import ControlClient
from supervisor.core.durations import format_duration
from supervisor.core.snapshot import GroupSnapshot, SlotState


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done to each group.")
@click.option("--no-wait", is_flag=True, help="Return when it has begun.")
@timeout_option("30m")
@socket_option
@click.pass_obj
def reload(config_path: Path, socket: Path | None, *, dry_run: bool, no_wait: bool, timeout: float) -> None:
    """Have the running supervisor read its configuration again; wait until it is applied.

    \b
    Everything is checked first, plugins and handlers in a throwaway process; what is wrong changes nothing.
    Then each group: one that did not change is not touched; a changed one is rolled, one worker after the
    other under the same member identity, each ready and back in its group before the next is stopped. If
    one does not come back, its group goes back to the old configuration. New groups start, removed ones
    leave. A changed protocol or assignor stops and starts the group as a whole.

    \b
    Examples:
      supervisor reload --dry-run
      supervisor reload

    \b
    Exit codes: 0 applied, 1 a group kept its old configuration, not within the timeout, or refused,
                3 nothing is running, 4 not allowed, 78 wrong configuration or plugin.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        supervisor = client(config_path, socket)
        begun = supervisor.reload(dry_run=dry_run)
        if no_wait:
            click.echo(f"reload has begun (operation {begun.number})")
            return
        follow(supervisor, begun, timeout)


def _sizes(_ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        group, equals, number = word.rpartition("=")
        if not (equals and group and number.isascii() and number.isdigit() and int(number) > 0):
            message = f'{word!r} is no size of a group: write "orders=4"'
            raise click.BadParameter(message)
        found[group] = int(number)
    return found


@click.command()
@click.argument("sizes", metavar="GROUP=N...", nargs=-1, required=True, callback=_sizes)
@timeout_option("120s")
@socket_option
@click.pass_obj
def scale(config_path: Path, sizes: dict[str, int], socket: Path | None, *, timeout: float) -> None:
    """Give groups another number of workers; wait until they run, or are gone.

    \b
    New workers start; what is too many drains, commits and leaves the Kafka group, the highest slot first.
    It holds until a reload changes `workers` of that group, or the supervisor starts anew.

    \b
    Example:
      supervisor scale orders=4 bills=2

    \b
    Exit codes: 0 it is so, 1 not within the timeout, a new worker failed, or refused, 2 wrong usage,
                3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        supervisor = client(config_path, socket)
        before = {group.name: len(group.slots) for group in supervisor.status().groups}
        warning = supervisor.scale(sizes).text
        if warning:
            click.echo(f"warning: {warning}", err=True)
        deadline = time.monotonic() + timeout
        while True:
            groups = [group for group in supervisor.status().groups if group.name in sizes]
            if all(_is_scaled(group, sizes[group.name], before.get(group.name, 0)) for group in groups):
                break
            if time.monotonic() > deadline:
                waiting = "\n".join(_slots_text(group) for group in groups)
                message = f"not done after {format_duration(timeout)}; it goes on, see: supervisor status\n{waiting}"
                raise CommandError(message)
            time.sleep(EVERY)
    click.echo(f"scaled: {', '.join(f'{group}={number}' for group, number in sizes.items())}")


def _is_scaled(group: GroupSnapshot, size: int, before: int) -> bool:
    """Tell whether a group has its size, and what is new in it runs; raise when a new slot was given up."""
    new = [slot for slot in group.slots if before <= slot.slot < size]
    lost = [slot for slot in new if slot.state is SlotState.FATAL]
    if lost:
        raise CommandError("\n".join(f"{slot.group}/{slot.slot} fatal: {remark(slot)}" for slot in lost))
    return len(group.slots) == size and all(slot.state is SlotState.RUNNING for slot in new)


def _slots_text(group: GroupSnapshot) -> str:
    return "\n".join(f"  {slot.group}/{slot.slot} {slot.state.value} {remark(slot)}".rstrip() for slot in group.slots)


@click.command()
@click.argument("target")
@timeout_option("30s")
@socket_option
@click.pass_obj
def pause(config_path: Path, target: str, socket: Path | None, *, timeout: float) -> None:
    """Have the workers of a group, or of one slot, read nothing more; wait until they do not.

    \b
    They stay members of the Kafka group, so nobody else takes their partitions; what they hold is worked on
    and committed. It holds for workers that start later, and over a reload, until `supervisor resume` of the
    group or slot, or until the supervisor starts anew. TARGET is a group ("orders") or a slot ("orders/1").

    \b
    Examples:
      supervisor pause orders
      supervisor pause orders/1

    \b
    Exit codes: 0 nothing is read, 1 not within the timeout or refused, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        supervisor = client(config_path, socket)
        wait_for_pause(supervisor, supervisor.pause(target).slots, timeout, on=True)
    click.echo(f"paused: {target}; to go on: supervisor resume {target}")


def wait_for_pause(supervisor: ControlClient, wanted: Collection[str], timeout: float, *, on: bool) -> None:
    """Wait until every worker of these slots that runs says that it reads nothing, or reads again.

    A record may have its group paused again as soon as it goes on (``Pause``): that is said, and not waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        slots = {f"{slot.group}/{slot.slot}": slot for group in supervisor.status().groups for slot in group.slots}
        stats = {name: slots[name].stats for name in wanted if name in slots}
        waiting = [name for name, one in stats.items() if one is not None and one.paused is not on]
        if not waiting:
            return
        undone = [slots[name] for name in waiting if slots[name].paused is not on]
        if undone:
            said = "resumed" if on else "paused"
            names = ", ".join(f"{slot.group}/{slot.slot}" for slot in undone)
            message = f"{names} was {said} again meanwhile\n  help: supervisor events --group {undone[0].group}"
            raise CommandError(message)
        if time.monotonic() > deadline:
            message = f"not done after {format_duration(timeout)}, it goes on: {', '.join(waiting)}"
            raise CommandError(message)
        time.sleep(EVERY)


@click.command()
@click.argument("target")
@click.option("--no-wait", is_flag=True, help="Return when it has begun.")
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=seconds,
    default="5m",
    show_default=True,
    help="When records are still held after this long, work on instead.",
)
@socket_option
@click.pass_obj
def drain(config_path: Path, target: str, socket: Path | None, *, no_wait: bool, timeout: float) -> None:
    """Finish all that workers hold, then stop them.

    \b
    Unlike `stop`, which gives back what is not in a handler yet, this reads nothing more and waits until
    every record that was read is settled, queued ones and retries too. Then they commit, leave the Kafka
    group and stay down until `supervisor start`. TARGET is a group ("orders") or a slot ("orders/1").

    \b
    Example:
      supervisor drain orders/1 --timeout 10m

    \b
    Exit codes: 0 drained and down, 1 records are still held, or refused, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        supervisor = client(config_path, socket)
        begun = supervisor.drain(target, timeout=timeout)
        if no_wait:
            click.echo(f"drain {target} has begun (operation {begun.number})")
            return
        follow(supervisor, begun, timeout + 300)
    click.echo(f"drained: {target}; to bring it back: supervisor start {target}")


@click.command()
@click.argument("target", required=False)
@socket_option
@click.pass_obj
def dump(config_path: Path, target: str | None, socket: Path | None) -> None:
    """Have workers write the stacks of all their threads, and the supervisor its table of states.

    \b
    For looking into what does not move; nothing is interrupted. The table goes to the supervisor's log, the
    stacks to the workers' own logs. TARGET is a group ("orders") or a slot ("orders/1"); default: all.

    \b
    Example:
      supervisor dump orders/1

    \b
    Exit codes: 0 asked, 1 refused, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        slots = client(config_path, socket).dump(target).slots
    click.echo(
        f"asked for their stacks (supervisor events --stacks): {', '.join(slots) or 'nobody, no worker is ready'}"
    )
