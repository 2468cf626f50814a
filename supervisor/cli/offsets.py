"""``supervisor offsets show | reset``: where a group stands, and where it is to go on."""

import os
import re
import sqlite3
import time
from pathlib import Path

import click
from rich.table import Table

from supervisor.cli.actions import timeout_option
from supervisor.cli.errors import CommandError
from supervisor.cli.inspect import inspect
from supervisor.cli.moments import moment_of
from supervisor.cli.output import console, print_json
from supervisor.cli.project import client, control_errors, load_config, socket_option
from supervisor.config import group_spec
from supervisor.control.client import ControlClient, NotRunning
from supervisor.core.durations import format_duration
from supervisor.core.events import Event, Scalar, Severity
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.resets import OffsetMove, OffsetsAnswer
from supervisor.core.suggest import did_you_mean
from supervisor.parent.store.journal_file import append, journal_file

EVERY = 0.1
LOOK_TIMEOUT = 60.0
LAST_MEMBER = 5.0


class _Supervised:
    """Asks the running supervisor, which stops the group for a reset and starts it again."""

    def __init__(self, control: ControlClient, timeout: float) -> None:
        self._control = control
        self._timeout = timeout

    def ask(self, group: str, to: str | None, partitions: tuple[str, ...], *, apply: bool) -> OffsetsAnswer:
        job = self._control.offsets(group, to, partitions=partitions, apply=apply)
        deadline = time.monotonic() + self._timeout
        while True:
            now = self._control.offsets_job(group)
            if now.id != job.id:
                message = "somebody else has asked for this group's offsets meanwhile; see: supervisor events"
                raise CommandError(message)
            if now.is_done:
                return now.answer
            if time.monotonic() > deadline:
                message = f"not done after {format_duration(self._timeout)}; it goes on ({now.phase})"
                raise CommandError(message)
            time.sleep(EVERY)


class _Alone:
    """Asks the brokers through a throwaway process, when no supervisor runs here; writes a reset into its journal."""

    def __init__(self, config_path: Path) -> None:
        self._config = load_config(config_path)

    def ask(self, group: str, to: str | None, partitions: tuple[str, ...], *, apply: bool) -> OffsetsAnswer:
        if group not in self._config.groups:
            guess = did_you_mean(group, self._config.groups)
            message = f"no group is called {group!r}\n  help: {guess}groups: {', '.join(self._config.groups)}"
            raise CommandError(message)
        request = {
            "group": to_json(group_spec(self._config, group)),
            "to": to,
            "partitions": list(partitions),
            "apply": apply,
            "patience": LAST_MEMBER,
            "parent_pid": os.getpid(),
        }
        if not apply:
            return from_json(OffsetsAnswer, inspect("offsets", request, timeout=LOOK_TIMEOUT))
        who: dict[str, Scalar] = {"uid": os.getuid(), "pid": os.getpid()}
        target = f"{group} {' '.join(partitions) or '*'} to {to}"
        self._note("operator.action", Severity.INFO, fields={"verb": "offsets reset", "target": target, **who})
        answer = from_json(OffsetsAnswer, inspect("offsets", request, timeout=LOOK_TIMEOUT))
        if answer.error:
            fields: dict[str, Scalar] = {"to": to, "changed": answer.changed}
            self._note("offsets.reset_failed", Severity.WARNING, answer.error, group=group, fields=fields)
        else:
            text, fields = f"{len(answer.moves)} partitions set to {to}", {"to": to, "partitions": len(answer.moves)}
            self._note("offsets.reset", Severity.WARNING, text, group=group, fields=fields)
        return answer

    def _note(
        self, name: str, severity: Severity, text: str = "", *, group: str = "", fields: dict[str, Scalar]
    ) -> None:
        file = journal_file(self._config.supervisor.state_dir)
        try:
            append(file, Event(name, severity, time.time(), group=group, text=text, fields=fields))
        except (OSError, sqlite3.Error) as error:
            message = f"nothing runs here, and who does this cannot be noted in {file}: {error}"
            raise CommandError(message) from error


def position(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    """Return what an operator wrote as ``--to`` in the words of ``core.resets``."""
    if re.fullmatch(r"earliest|latest|[0-9]{1,18}", text):
        return text
    try:
        return f"@{max(0, round(moment_of(text) * 1000))}"
    except ValueError as error:
        message = (
            f'{text!r} is no position: write "earliest", "latest", an offset, a time ("2026-05-04T10:00:00Z"; '
            'without a zone: of this host), or how long ago ("2h")'
        )
        raise click.BadParameter(message) from error


def _name(_ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"[^/]+/[0-9]{1,9}", name):
            message = f"{name!r} is no partition: write TOPIC/NUMBER"
            raise click.BadParameter(message)
    return names


@click.group()
def offsets() -> None:
    """Show or reset a group's committed offsets.

    \b
    Examples:
      supervisor offsets show orders
      supervisor offsets reset orders --to 2h --dry-run
    """  # noqa: D301 - \b is click's mark for text that keeps its lines


@offsets.command()
@click.argument("group")
@click.option("--json", "as_json", is_flag=True, help="Print the partitions as JSON.")
@socket_option
@click.pass_obj
def show(config_path: Path, group: str, socket: Path | None, *, as_json: bool) -> None:
    """Show where a group stands in every partition.

    \b
    Of all partitions of its topics, whoever works them: the offsets they hold, what is committed, the lag.
    Asks the running supervisor, or the brokers when none runs.

    \b
    Example:
      supervisor offsets show orders --json

    \b
    Exit codes: 0 shown, 1 no answer or no such group, 4 not allowed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        answer = _asker(config_path, socket, LOOK_TIMEOUT).ask(group, None, (), apply=False)
    _done(answer)
    if as_json:
        print_json(answer)
        return
    console().print(_table(answer.moves, is_reset=False))
    if answer.members:
        click.echo(f"members: {', '.join(answer.members)}")


@offsets.command()
@click.argument("group")
@click.option("--to", required=True, metavar="earliest|latest|TIME|OFFSET", callback=position, help="Where to go on.")
@click.option(
    "--partition", "partitions", metavar="TOPIC/P", multiple=True, callback=_name, help="Only this one; several times."
)
@click.option("--dry-run", is_flag=True, help="Show what would be, change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the partitions as JSON; needs --yes or --dry-run.")
@timeout_option("180s")
@socket_option
@click.pass_obj
def reset(  # noqa: PLR0913 - one per option
    config_path: Path,
    group: str,
    socket: Path | None,
    *,
    to: str,
    partitions: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    timeout: float,
) -> None:
    """Set where a group goes on.

    \b
    Shows what would be, asks, then: the supervisor stops the group's workers (they finish what is in their
    handlers, commit and leave), waits until the broker knows nobody in the group, sets the offsets, and starts
    again what ran before, whatever happened and whether or not this command still waits. While other hosts
    work the group nothing is done: stop it there first. Without a running supervisor the brokers are asked directly.
    TIME is ISO 8601 ("2026-05-04T10:00:00Z") or how long ago ("2h"): the first record of that time or later.
    Records before the new offset are not worked again, those after it are, dead-lettered ones included.

    \b
    Examples:
      supervisor offsets reset orders --to earliest --dry-run
      supervisor offsets reset orders --to 2h --yes
      supervisor offsets reset orders --partition orders/3 --to 81200

    \b
    Exit codes: 0 done (or would be), 1 refused, failed, not within the timeout or not wanted,
                4 not allowed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if as_json and not (yes or dry_run):
        message = "--json asks nobody: add --yes or --dry-run"
        raise click.UsageError(message)
    with control_errors():
        asker = _asker(config_path, socket, timeout)
        answer = asker.ask(group, to, partitions, apply=False)
        _done(answer)
        if not as_json:
            console().print(_table(answer.moves, is_reset=True))
        if not dry_run:
            if not yes and not click.confirm(f"Set {len(answer.moves)} partitions of group {group}?"):
                message = "nothing was changed"
                raise CommandError(message)
            answer = asker.ask(group, to, partitions, apply=True)
            _done(answer)
    if as_json:
        print_json(answer)
    else:
        click.echo("nothing was changed (dry run)" if dry_run else f"done: {len(answer.moves)} partitions")


def _asker(config_path: Path, socket: Path | None, timeout: float) -> _Supervised | _Alone:
    control = client(config_path, socket)
    try:
        control.status()
    except NotRunning:
        if socket is not None:
            raise
        return _Alone(config_path)
    return _Supervised(control, timeout)


def _done(answer: OffsetsAnswer) -> None:
    if answer.error:
        raise CommandError(answer.error)


def _table(moves: tuple[OffsetMove, ...], *, is_reset: bool) -> Table:
    columns = ("PARTITION", "EARLIEST", "END", "COMMITTED", *(("BECOMES",) if is_reset else ()), "LAG")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for move in moves:
        becomes = (str(move.after),) if is_reset else ()
        before = "-" if move.before < 0 else str(move.before)
        table.add_row(move.name, str(move.earliest), str(move.end), before, *becomes, str(move.lag))
    return table
