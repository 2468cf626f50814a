"""``supervisor stop | start | restart | hold``: ask the running supervisor, then wait until it is so."""

import time
from collections.abc import Callable
from pathlib import Path

import click
import psutil

from supervisor.cli.errors import CommandError
from supervisor.cli.following import follow
from supervisor.cli.project import client, control_errors, socket_option
from supervisor.cli.table import remark
from supervisor.control.answers import Accepted
from supervisor.control.client import ControlClient, NotRunning
from supervisor.core.durations import format_duration, parse_duration
from supervisor.core.snapshot import SlotSnapshot, SlotState, Snapshot
from supervisor.core.spec import End

EVERY = 0.1


def seconds(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    """Return the seconds that an option means, or fail as wrong usage."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def timeout_option(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the ``--timeout`` option of a command that waits."""
    return click.option(
        "--timeout",
        metavar="DURATION",
        callback=seconds,
        default=default,
        show_default=True,
        help='How long to wait until it is done: "30s", "2m".',
    )


@click.command()
@click.argument("target", required=False)
@click.option("--keep", is_flag=True, help="Stay members of the Kafka group: for a restart or an upgrade.")
@timeout_option("90s")
@socket_option
@click.pass_obj
def stop(config_path: Path, target: str | None, socket: Path | None, *, keep: bool, timeout: float) -> None:
    """Stop the supervisor, a group or a slot; wait until it is down.

    \b
    Workers take no new records, finish those in their handlers, commit, and end. Without --keep they
    leave the Kafka group, so that other hosts take over their partitions at once; with --keep their
    partitions wait for them (until the broker's session timeout).
    TARGET is a group ("orders") or a slot ("orders/1"); without it everything stops and `run` exits.

    \b
    Examples:
      supervisor stop orders
      supervisor stop --keep && pip install -U kafka-supervisor && systemctl start kafka-supervisor

    \b
    Exit codes: 0 it is down, 1 not within the timeout or refused, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        supervisor = client(config_path, socket)
        before = supervisor.status()
        accepted = supervisor.stop(target, end=End.KEEP if keep else End.LEAVE)
        if target is None:
            _wait_until_gone(supervisor, before.pid, timeout)
            click.echo(f"stopped: supervisor {before.supervisor}, pid {before.pid}")
            return
        _wait(supervisor, accepted, timeout, done=lambda slot: slot.state in {SlotState.STOPPED, SlotState.FATAL})
        click.echo(f"stopped: {', '.join(accepted.slots)}")


@click.command()
@click.argument("target", required=False)
@timeout_option("90s")
@socket_option
@click.pass_obj
def start(config_path: Path, target: str | None, socket: Path | None, *, timeout: float) -> None:
    """Start a group or slot that is down; wait until it runs.

    \b
    TARGET is a group ("orders") or a slot ("orders/1"); without it every group. A slot in backoff
    starts at once; one that was given up (fatal) gets another chance.

    \b
    Example:
      supervisor start orders/1

    \b
    Exit codes: 0 it runs, 1 not within the timeout, failed or refused, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        supervisor = client(config_path, socket)
        before = _incarnations(supervisor.status())
        slots = _wait(
            supervisor,
            supervisor.start(target),
            timeout,
            done=lambda slot: slot.state is SlotState.RUNNING,
            failed=lambda slot: slot.state is SlotState.FATAL and slot.incarnation != before.get(_name(slot)),
        )
        click.echo(f"running: {_named(slots)}")


@click.command()
@click.argument("target", required=False)
@click.option("--rolling", is_flag=True, help="One worker after the other; stop at the first that does not come back.")
@click.option("--no-wait", is_flag=True, help="With --rolling: return when it has begun.")
@timeout_option("120s")
@socket_option
@click.pass_obj
def restart(
    config_path: Path, target: str | None, socket: Path | None, *, rolling: bool, no_wait: bool, timeout: float
) -> None:
    """Restart workers; wait until the new ones run.

    \b
    TARGET is a group ("orders") or a slot ("orders/1"); without it every group. Workers drain and
    commit first and stay members of the Kafka group, so nobody else is disturbed. Not counted as a
    failure. With --rolling each one is ready and back in its group before the next is stopped.

    \b
    Examples:
      supervisor restart orders
      supervisor restart orders --rolling --timeout 10m

    \b
    Exit codes: 0 the new ones run, 1 not within the timeout, failed or refused, 3 nothing is running,
                4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if no_wait and not rolling:
        message = "--no-wait is for --rolling"
        raise click.UsageError(message)
    with control_errors():
        supervisor = client(config_path, socket)
        if rolling:
            begun = supervisor.restart_rolling(target)
            if no_wait:
                click.echo(f"the restart has begun (operation {begun.number})")
            else:
                follow(supervisor, begun, timeout)
            return
        before = _incarnations(supervisor.status())
        slots = _wait(
            supervisor,
            supervisor.restart(target),
            timeout,
            done=lambda slot: slot.state is SlotState.RUNNING and slot.incarnation != before.get(_name(slot)),
            failed=lambda slot: slot.state is SlotState.FATAL and slot.incarnation != before.get(_name(slot)),
        )
        click.echo(f"restarted: {_named(slots)}")


@click.command()
@click.argument("target")
@socket_option
@click.pass_obj
def hold(config_path: Path, target: str, socket: Path | None) -> None:
    """Keep a slot down when its worker next exits.

    \b
    For looking into a crash: the next death is not followed by a restart, until `supervisor start`.
    TARGET is a group ("orders") or a slot ("orders/1").

    \b
    Example:
      supervisor hold orders/1

    \b
    Exit codes: 0 it will stay down, 1 refused, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        client(config_path, socket).hold(target)
    click.echo(f"{target} stays down when it next exits; to bring it back: supervisor start {target}")


def _incarnations(snapshot: Snapshot) -> dict[str, int]:
    return {_name(slot): slot.incarnation for group in snapshot.groups for slot in group.slots}


def _wait(
    supervisor: ControlClient,
    accepted: Accepted,
    timeout: float,
    *,
    done: Callable[[SlotSnapshot], bool],
    failed: Callable[[SlotSnapshot], bool] = lambda _: False,
) -> list[SlotSnapshot]:
    """Poll until every slot that was ``accepted`` is ``done``; raise when one ``failed`` or the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        slots = [slot for group in supervisor.status().groups for slot in group.slots if _name(slot) in accepted.slots]
        if all(done(slot) for slot in slots):
            return slots
        broken = [slot for slot in slots if failed(slot)]
        if broken:
            raise CommandError("\n".join(_described(slot) for slot in broken))
        if time.monotonic() > deadline:
            waiting = "\n".join(f"  {_described(slot)}" for slot in slots if not done(slot))
            message = f"not done after {format_duration(timeout)}; it goes on, see: supervisor status\n{waiting}"
            raise CommandError(message)
        time.sleep(EVERY)


def _wait_until_gone(supervisor: ControlClient, pid: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while _alive(pid):
        if time.monotonic() > deadline:
            message = f"not done after {format_duration(timeout)}; pid {pid} still drains, see: supervisor status"
            raise CommandError(message)
        time.sleep(EVERY)
    try:
        other = supervisor.status()
    except NotRunning:
        return
    message = f"pid {pid} is gone, but another supervisor has started: pid {other.pid}"
    raise CommandError(message)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(slot: SlotSnapshot) -> str:
    return f"{slot.group}/{slot.slot}"


def _described(slot: SlotSnapshot) -> str:
    why = remark(slot)
    return f"{_name(slot)} {slot.state.value}" + (f": {why}" if why else "")


def _named(slots: list[SlotSnapshot]) -> str:
    return ", ".join(f"{_name(slot)} (pid {slot.pid})" for slot in slots)
