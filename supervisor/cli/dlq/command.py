"""``supervisor dlq list | show | stats | replay | export | drop | drain``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from supervisor.cli.dlq.asking import ask
from supervisor.cli.dlq.audit import Audit
from supervisor.cli.dlq.changing import drain, drop, export
from supervisor.cli.dlq.options import (
    filter_options,
    group_argument,
    json_option,
    name_option,
    pending_option,
    rate,
    where_options,
)
from supervisor.cli.dlq.requests import asked, request_of, rest_of, to_its_end
from supervisor.cli.dlq.showing import show_letter, show_reasons, show_stats, show_table
from supervisor.cli.errors import CommandError
from supervisor.cli.output import print_json
from supervisor.cli.project import socket_option
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Replay, Verb
from supervisor.core.dlq_told import words


@click.group()
def dlq() -> None:
    """Look at a group's dead letters, send them back, take them away.

    \b
    Examples:
      supervisor dlq stats orders
      supervisor dlq replay orders --disposition timeout --dry-run
      supervisor dlq replay orders --disposition timeout --rate 100/s
    """  # noqa: D301 - \b is click's mark for text that keeps its lines


@dlq.command("list")
@group_argument
@where_options
@filter_options
@pending_option
@name_option
@click.option("-n", "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="The newest; 0: all.")
@json_option
@click.pass_obj
def list_(config_path: Path, /, group: str, *, limit: int, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """List dead letters, the newest last: where they came from and why, never what they hold.

    \b
    Examples:
      supervisor dlq list orders --since 2h
      supervisor dlq list orders --topic orders-dlt --exception DeserializationException

    \b
    Exit codes: 0 listed, 1 no answer, told to stop or no such group, 2 wrong usage, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    request = replace(request_of(config_path, group, Verb.LIST, given), limit=limit)
    answer = asked(request, "reading", is_quiet=as_json)
    if as_json:
        print_json(answer)
    else:
        show_table(answer.letters)
        left = answer.counts.read - answer.counts.passed - len(answer.letters)
        _tell_rest(f"{left} older ones are not shown: --limit 0" if left > 0 else rest_of(answer))
    to_its_end(answer)


@dlq.command()
@group_argument
@click.argument("letter")
@where_options
@click.option("--value", is_flag=True, help="Print what the record held, too.")
@json_option
@click.pass_obj
def show(config_path: Path, /, group: str, letter: str, *, value: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Show one dead letter: its story and its headers; its value only with --value.

    \b
    LETTER is its name in `dlq list` ("orders.dlq/0@12"), which is found at once, or its audit id.

    \b
    Examples:
      supervisor dlq show orders orders.dlq/0@12
      supervisor dlq show orders orders/orders/0/81200 --value

    \b
    Exit codes: 0 shown, 1 no such letter, no answer or told to stop, 2 wrong usage, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    request = replace(request_of(config_path, group, Verb.SHOW, given), one=letter, limit=0, values=value)
    answer = asked(request, "looking", is_quiet=as_json)
    if not answer.letters:
        to_its_end(answer)
        message = f"group {group} has no dead letter {letter!r}\n  help: supervisor dlq list {group}"
        raise CommandError(message)
    if as_json:
        print_json(answer.letters)
    else:
        for found in answer.letters:
            show_letter(found, value=value)
    to_its_end(answer)


@dlq.command()
@group_argument
@where_options
@filter_options
@pending_option
@name_option
@json_option
@click.pass_obj
def stats(config_path: Path, /, group: str, *, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Count dead letters by reason, origin and place.

    \b
    Examples:
      supervisor dlq stats orders
      supervisor dlq stats orders --pending

    \b
    Exit codes: 0 shown, 1 no answer, told to stop or no such group, 2 wrong usage, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    answer = asked(request_of(config_path, group, Verb.STATS, given), "counting", is_quiet=as_json)
    if as_json:
        print_json(answer)
    else:
        show_stats(answer)
        _tell_rest(rest_of(answer))
    to_its_end(answer)


@dlq.command()
@group_argument
@where_options
@filter_options
@name_option
@click.option("--to", metavar="TOPIC", default="", help="Send to this topic, not to where each came from.")
@click.option("--by-key", is_flag=True, help="The key decides the partition; default: the one it came from.")
@click.option("--rate", metavar="N/s", callback=rate, help='At most so fast: "100/s", "30/m".')
@click.option("--most", metavar="N", type=click.IntRange(min=1), help="Stop after so many; the next run goes on.")
@click.option(
    "--max-replays",
    metavar="N",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="A letter that was replayed so often goes to TOPIC.parked instead.",
)
@click.option("--restart", is_flag=True, help="Begin anew, from the oldest letter.")
@click.option("--dry-run", is_flag=True, help="Send nothing; say what would be sent, by reason.")
@json_option
@socket_option
@click.pass_obj
def replay(  # noqa: PLR0913 - one per option
    config_path: Path,
    /,
    group: str,
    socket: Path | None,
    *,
    to: str,
    by_key: bool,
    rate: float,
    most: int | None,
    max_replays: int,
    restart: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Send dead letters back to the topics they came from.

    \b
    Key, value and the record's own headers as they were; what tells of the failure is replaced by
    supervisor.dlq.replay-*. Goes to where the letters end now. Interrupted by anything, the same command goes
    on from there; letters that may have been sent before are marked supervisor.dlq.replay-again. Done
    again, it sends what has come since. Letters stay where they are: see `dlq drop`.

    \b
    Examples:
      supervisor dlq replay orders --dry-run
      supervisor dlq replay orders --exception ConnectionError --rate 100/s
      supervisor dlq replay orders --topic orders-dlt --to orders

    \b
    Exit codes: 0 done (or would be), 1 failed or told to stop: the same command goes on, or some were not taken,
                2 wrong usage, 4 not allowed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    how = Replay("", to, by_key=by_key, rate=rate, max_replays=max_replays, most=most or 0, restart=restart)
    request = request_of(config_path, group, Verb.REPLAY, given, how=replace(how, dry_run=dry_run))
    if dry_run:
        _tell_replay(ask(request, title="dry run", is_quiet=as_json), request, as_json=as_json)
        return
    audit = Audit(config_path, socket, request)
    audit.tell("replay_started", f"replay {request.replay.name}: {request.meant.text}")
    with audit.noted("replaying", is_quiet=as_json) as answer:
        _tell_replay(answer, request, as_json=as_json)


def _tell_rest(text: str) -> None:
    if text:
        click.echo(text, err=True)


def _tell_replay(answer: DlqAnswer, request: DlqRequest, *, as_json: bool) -> None:
    how = request.replay
    is_refused = bool(answer.error) and answer.counts == Counts()
    if as_json:
        print_json(answer)
    elif is_refused:
        pass
    elif how.dry_run:
        show_reasons(answer.reasons)
        click.echo(f"nothing was sent (dry run); {words(answer.counts).replace(' sent', ' would be sent')}")
    else:
        went_on = " (it went on where it was)" if answer.resumed else ""
        click.echo(f"replay {how.name}{went_on}: {words(answer.counts)}")
        for line in answer.kept:
            click.echo(f"not taken: {line}")
    if answer.counts.homeless:
        _tell_rest("nothing says where those without an origin came from: they go where --to TOPIC says")
    if answer.error:
        goes_on = "" if is_refused else "\nthe same command goes on from where it was"
        raise CommandError(answer.error + goes_on)
    if answer.stopped:
        message = "told to stop; the same command goes on from where it was"
        raise CommandError(message)
    if answer.counts.rejected:
        message = "some were not taken and were passed over; they stay: mend the cause, then --restart --origin"
        raise CommandError(message)


for command in (export, drop, drain):
    dlq.add_command(command)
