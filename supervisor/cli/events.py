"""``supervisor events``."""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from supervisor.cli.errors import CommandError
from supervisor.cli.moments import moment
from supervisor.cli.output import console
from supervisor.cli.project import client, control_errors, socket_option
from supervisor.config import ConfigError, state_dir
from supervisor.control.answers import EventEntry, EventPage
from supervisor.control.client import ControlClient, NotAllowed, NotRunning, Refused
from supervisor.core.event_query import EventQuery
from supervisor.core.events import Event, Severity
from supervisor.core.exits import ExitCode
from supervisor.core.jsonable import to_json
from supervisor.parent.store.journal_file import journal_file, read_file

EVERY = 0.5
MOST = 500
STYLES = {Severity.DEBUG: "dim", Severity.INFO: "", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}
SHOWN = {
    "slot.started": ("pid", "incarnation", "mode"),
    "operator.action": ("verb", "target", "uid", "pid"),
    "supervisor.started": ("version", "pid", "slots"),
}
"""Fields that say what an event without a text is about; of any other event all are shown."""

Ask = Callable[[EventQuery], EventPage]


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C; also over restarts.")
@click.option("-g", "--group", metavar="GROUP", help="Only events of this group.")
@click.option("--slot", metavar="N", type=click.IntRange(min=0), help="Only events of this slot.")
@click.option(
    "--since", metavar="TIME", callback=moment, help='From then on: "2h" ago, 2026-01-31, "2026-01-31 14:00".'
)
@click.option(
    "--severity",
    type=click.Choice([severity.value for severity in Severity]),
    default=Severity.INFO.value,
    show_default=True,
    help="The least urgent shown; debug has every change of a slot's state.",
)
@click.option(
    "-n", "--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="How many, the newest."
)
@click.option("--stacks", is_flag=True, help="Show the stack and the last log lines beneath each death.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, stacks and log lines included.")
@socket_option
@click.pass_obj
def events(  # noqa: PLR0913 - one per option, as click has it
    config_path: Path,
    *,
    follow: bool,
    group: str | None,
    slot: int | None,
    since: float | None,
    severity: str,
    limit: int,
    stacks: bool,
    as_json: bool,
    socket: Path | None,
) -> None:
    """Show what happened: starts, deaths, operators' actions, alerts.

    \b
    Asks the running supervisor; where none runs, its journal in state_dir is read.

    \b
    Examples:
      supervisor events --group orders --since 2h
      supervisor events --severity warning --stacks
      supervisor events --follow --json | jq 'select(.name == "worker.exited")'

    \b
    Exit codes: 0 shown, 1 the journal cannot be read, 3 nothing is running and there is no journal,
                4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    query = EventQuery(group=group, slot=slot, after=since, severity=Severity(severity), limit=limit)
    show = _show_json if as_json else _Shown(stacks=stacks)
    supervisor = client(config_path, socket)
    with control_errors():
        page = _first(supervisor, query, None if socket is not None else config_path)
        if not page.is_complete:
            click.echo("the journal cannot be read now: only what the supervisor remembers is shown", err=True)
        show(page.entries)
        if follow:
            _follow(supervisor, query, page, show)


def _first(supervisor: ControlClient, query: EventQuery, config_path: Path | None) -> EventPage:
    try:
        return supervisor.journal(query)
    except NotRunning:
        if config_path is None:
            raise
    try:
        file = journal_file(state_dir(config_path))
    except ConfigError as error:
        raise CommandError(str(error), code=ExitCode.CONFIG) from error
    try:
        return read_file(file, query)
    except FileNotFoundError as error:
        message = f"nothing is running and there is no journal ({file})\n  help: under systemd: --socket PATH"
        raise CommandError(message, code=ExitCode.NOT_RUNNING) from error
    except PermissionError as error:
        message = f"not allowed: {file} belongs to another user"
        raise CommandError(message, code=ExitCode.NOT_ALLOWED) from error
    except sqlite3.Error as error:
        message = f"nothing is running, and its journal cannot be read: {file}: {error}"
        raise CommandError(message) from error


def _follow(
    supervisor: ControlClient, query: EventQuery, page: EventPage, show: Callable[[Sequence[EventEntry]], None]
) -> None:
    """Show what comes after ``page`` until Ctrl-C; a supervisor that is gone is waited for."""
    seen, is_gone = page.newest, False
    try:
        while True:
            time.sleep(EVERY)
            try:
                page = supervisor.journal(replace(query, since=seen, limit=MOST))
            except NotAllowed:
                raise
            except (NotRunning, Refused) as error:
                if not is_gone:
                    click.echo(f"{error}; waiting for it", err=True)
                is_gone = True
                continue
            is_gone = False
            if page.newest < seen:  # another journal was begun
                seen = 0
                continue
            if page.dropped:
                click.echo(f"{page.dropped} events are missing here: the journal has them no more", err=True)
            show(page.entries)
            seen = page.entries[-1].seq if len(page.entries) == MOST else page.newest
    except KeyboardInterrupt:
        return


def _show_json(entries: Sequence[EventEntry]) -> None:
    for entry in entries:
        click.echo(json.dumps({"seq": entry.seq, **to_json(entry.event)}, ensure_ascii=False))


class _Shown:
    """Shows events as a table; its heading only once."""

    def __init__(self, *, stacks: bool) -> None:
        self._stacks = stacks
        self._heading = True
        self._out = console()

    def __call__(self, entries: Sequence[EventEntry]) -> None:
        if not entries:
            if self._heading:
                click.echo("no events", err=True)
            return
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=self._heading)
        for title, width in (("TIME", 19), ("WHERE", 12), ("EVENT", 18)):
            table.add_column(title, no_wrap=True, min_width=width)
        table.add_column("")
        for entry in entries:
            table.add_row(*_cells(entry.event))
            if self._stacks:
                for name, text in entry.event.attachments.items():
                    table.add_row("", "", Text(name, style="dim"), Text(text, style="dim"))
        self._heading = False
        self._out.print(table)


def _cells(event: Event) -> tuple[str | Text, ...]:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    where = event.group if event.slot is None else f"{event.group}/{event.slot}"
    return stamp, where or "-", Text(event.name, style=STYLES[event.severity]), Text(_what(event))


def _what(event: Event) -> str:
    """Return what happened on one line: the event's text, else its fields."""
    names = SHOWN.get(event.name, event.fields)
    pairs = (f"{name}={event.fields[name]}" for name in names if event.fields.get(name) not in (None, ""))
    return " ".join((event.text or " ".join(pairs)).split("\n"))
