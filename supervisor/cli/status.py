"""``supervisor status``."""

import json
import time
from pathlib import Path

import click
from rich.console import Console, Group
from rich.live import Live

from supervisor.cli.lag_table import lag_table
from supervisor.cli.output import console, print_json
from supervisor.cli.project import client, control_errors, socket_option
from supervisor.cli.table import conditions, headline, status_table
from supervisor.control.client import ControlClient
from supervisor.core.jsonable import to_json
from supervisor.core.snapshot import Snapshot

EVERY = 1.0


@click.command()
@socket_option
@click.option("-w", "--watch", is_flag=True, help="Show it anew each second until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole snapshot as JSON; with --watch one line each.")
@click.pass_obj
def status(config_path: Path, socket: Path | None, *, watch: bool, as_json: bool) -> None:
    """Show what every worker does right now.

    \b
    One line per slot: its state, process, time since its start, restarts so far, the partitions
    it owns, records settled per second, their lag, the age of the oldest record it has not
    settled, memory and CPU. A value nobody knows is "-".
    The second table has the lag of whole groups, as brokers tell it: of what no slot here owns, too.
    The last column says why: why a slot is down and when it starts again, what a worker waits for.

    \b
    Examples:
      supervisor status
      supervisor status --watch
      supervisor status --json | jq '.groups[].slots[] | select(.state != "running")'

    \b
    Exit codes: 0 it runs, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    supervisor = client(config_path, socket)
    out = console()
    with control_errors():
        if watch:
            _watch(supervisor, out, as_json=as_json)
        elif as_json:
            print_json(supervisor.status())
        else:
            out.print(_view(supervisor.status()))


def _watch(supervisor: ControlClient, out: Console, *, as_json: bool) -> None:
    try:
        if as_json or not out.is_terminal:
            while True:
                snapshot = supervisor.status()
                if as_json:
                    click.echo(json.dumps(to_json(snapshot), ensure_ascii=False))
                else:
                    out.print(_view(snapshot))
                time.sleep(EVERY)
        with Live(_view(supervisor.status()), console=out, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(EVERY)
                live.update(_view(supervisor.status()), refresh=True)
    except KeyboardInterrupt:
        return


def _view(snapshot: Snapshot) -> Group:
    whole = lag_table(snapshot)
    return Group(
        headline(snapshot), *conditions(snapshot), status_table(snapshot), *(("", whole) if whole is not None else ())
    )
