"""``supervisor alerts`` and ``supervisor silence``."""

import json
import time
from datetime import datetime
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from supervisor.cli.actions import seconds
from supervisor.cli.output import console
from supervisor.cli.project import client, control_errors, socket_option
from supervisor.control.answers import AlertsAnswer
from supervisor.core.alert_flow import Silence
from supervisor.core.durations import format_duration
from supervisor.core.events import Severity
from supervisor.core.jsonable import to_json

STYLES = {Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@socket_option
@click.pass_obj
def alerts(config_path: Path, socket: Path | None, *, as_json: bool) -> None:
    """Show which conditions people were told of and are not over, and what is silenced.

    \b
    Moments (a death, a dead letter nobody takes) are told as they happen: see `supervisor events`.

    \b
    Exit codes: 0 nothing critical, 1 something critical lasts, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    with control_errors():
        answer = client(config_path, socket).alerts()
    if as_json:
        click.echo(json.dumps(to_json(answer)))
    else:
        _show(answer)
    if any(one.severity is Severity.CRITICAL for one in answer.firing):
        raise SystemExit(1)


@click.command()
@click.argument("name", required=False)
@click.option("-g", "--group", metavar="GROUP", default="", help="Only of this group.")
@click.option("--slot", metavar="N", type=click.IntRange(min=0), help="Only of this slot.")
@click.option("--for", "duration", metavar="TIME", callback=seconds, default="1h", show_default=True, help="How long.")
@click.option("--reason", default="", help="Why, for who looks at `supervisor alerts`.")
@click.option("--end", "number", metavar="N", type=click.IntRange(min=1), help="End the silence of this number.")
@socket_option
@click.pass_obj
def silence(  # noqa: PLR0913 - one per option, as click has it
    config_path: Path,
    name: str | None,
    *,
    group: str,
    slot: int | None,
    duration: float,
    reason: str,
    number: int | None,
    socket: Path | None,
) -> None:
    """Tell nobody of NAME for a while: an event's or a condition's name, or a pattern with `*`.

    Everything still happens, is logged and stands in the journal. A condition that lasts when its silence
    ends is told then. Silences outlive a restart of the supervisor.

    \b
    Examples:
      supervisor silence worker.exited --group orders --for 2h --reason "known, fix is on its way"
      supervisor silence "*" --for 15m
      supervisor silence --end 3

    \b
    Exit codes: 0 it is so, 1 refused, 2 wrong usage, 3 nothing is running, 4 not allowed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if (name is None) == (number is None):
        message = "write what to silence, or --end and the number of a silence; `supervisor alerts` shows them"
        raise click.UsageError(message)
    with control_errors():
        supervisor = client(config_path, socket)
        if number is not None:
            click.echo(f"ended: {_words(supervisor.unsilence(number))}")
        else:
            added = supervisor.silence(name or "", duration, group=group, slot=slot, reason=reason)
            click.echo(f"silence {added.number}: {_words(added)}, until {_clock(added.until)}")


def _show(answer: AlertsAnswer) -> None:
    out = console()
    if answer.firing:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("SEVERITY", "CONDITION", "WHERE", "FOR", "WHAT"):
            table.add_column(title, overflow="fold")
        for one in sorted(answer.firing, key=lambda one: (one.severity is not Severity.CRITICAL, one.since)):
            where = one.group if one.slot is None else f"{one.group}/{one.slot}"
            lasts = format_duration(max(0.0, round(time.time() - one.since)))
            table.add_row(Text(one.severity.value, STYLES.get(one.severity, "")), one.name, where, lasts, one.text)
        out.print(table)
    else:
        out.print("no condition lasts")
    for silence in answer.silences:
        why = f" ({silence.reason})" if silence.reason else ""
        out.print(f"silence {silence.number}: {_words(silence)}, until {_clock(silence.until)}, by {silence.by}{why}")


def _words(silence: Silence) -> str:
    where = silence.group or "all groups"
    return f"{silence.name} of {where}" + ("" if silence.slot is None else f"/{silence.slot}")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")
