"""``supervisor resume``: end a pause, or say where stopped partitions go on."""

import re
import time
from pathlib import Path

import click

from supervisor.cli.actions import timeout_option
from supervisor.cli.changes import wait_for_pause
from supervisor.cli.errors import CommandError
from supervisor.cli.project import client, control_errors, socket_option
from supervisor.control.client import ControlClient
from supervisor.core.durations import format_duration

EVERY = 0.1


def _position(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str | None:
    if text is None or re.fullmatch(r"earliest|latest|[0-9]{1,18}", text):
        return text
    message = f'{text!r} is no position: write "earliest", "latest" or an offset'
    raise click.BadParameter(message)


@click.command()
@click.argument("target")
@click.option("--partition", metavar="TOPIC/P", help="One stopped partition; default: all of the group's on this host.")
@click.option(
    "--to", metavar="earliest|latest|OFFSET", callback=_position, help="Where stopped partitions go on; committed."
)
@timeout_option("30s")
@socket_option
@click.pass_obj
def resume(
    config_path: Path, target: str, socket: Path | None, *, partition: str | None, to: str | None, timeout: float
) -> None:
    """Go on after `supervisor pause`; or, with --to, in partitions that were stopped. Wait until it is so.

    \b
    Without --to: all workers of the group read again, those that were paused singly, too, and go on where a
    breaker held them; of a slot ("orders/1") only its own worker reads again, though its group be paused.
    With --to, which takes a group: a partition whose committed offset it does not hold any more (its records
    were deleted, or its topic made anew) is stopped: nothing is read from it, the others go on. `supervisor
    status` shows it. What lies between the committed offset and --to is not worked by this group.

    \b
    Examples:
      supervisor resume orders
      supervisor resume orders/1
      supervisor resume orders --partition orders/3 --to earliest
      supervisor resume orders --partition orders/3 --to 81200

    \b
    Exit codes: 0 it goes on, 1 not within the timeout or refused, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if to is None and partition is not None:
        message = "--partition needs --to: where shall it go on?"
        raise click.UsageError(message)
    with control_errors():
        supervisor = client(config_path, socket)
        if to is None:
            wait_for_pause(supervisor, supervisor.unpause(target).slots, timeout, on=False)
            click.echo(f"goes on: {target}")
            return
        before = _stopped(supervisor, target)
        wanted = supervisor.resume(target, to, partition=partition).slots
        _wait(supervisor, target, {name: before.get(name, "") for name in wanted}, timeout)
    click.echo(f"goes on at {to}: {', '.join(wanted)}")


def _wait(supervisor: ControlClient, group: str, wanted: dict[str, str], timeout: float) -> None:
    """Wait until none of ``wanted`` (why each was stopped) is stopped; a new reason is the worker's refusal."""
    deadline = time.monotonic() + timeout
    while True:
        now = _stopped(supervisor, group)
        left = {name: now[name] for name in wanted if name in now}
        if not left:
            return
        refused = {name: why for name, why in left.items() if wanted[name] and why != wanted[name]}
        if refused:
            raise CommandError("\n".join(f"{name}: {why}" for name, why in refused.items()))
        if time.monotonic() > deadline:
            lines = "\n".join(f"  {name}: {why}" for name, why in left.items())
            message = f"not done after {format_duration(timeout)}, see: supervisor status\n{lines}"
            raise CommandError(message)
        time.sleep(EVERY)


def _stopped(supervisor: ControlClient, group: str) -> dict[str, str]:
    return {
        f"{one.topic}/{one.partition}": one.stopped
        for known in supervisor.status().groups
        if known.name == group
        for slot in known.slots
        if slot.stats is not None
        for one in slot.stats.partitions
        if one.stopped
    }
