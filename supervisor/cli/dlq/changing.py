"""``supervisor dlq export | drop | drain``: letters that go elsewhere, or away."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from supervisor.cli.dlq.audit import Audit
from supervisor.cli.dlq.exported import lines_to
from supervisor.cli.dlq.options import (
    filter_options,
    group_argument,
    json_option,
    loaded,
    name_option,
    pending_option,
    rate,
    where_options,
)
from supervisor.cli.dlq.requests import asked, request_of, rest_of, to_its_end
from supervisor.cli.errors import CommandError
from supervisor.cli.output import print_json
from supervisor.cli.project import socket_option
from supervisor.core.dlq import DlqAnswer, DlqRequest, Place, Replay, Verb, Where
from supervisor.core.dlq_told import words
from supervisor.core.spools import SPOOL, is_spooled


@click.command()
@group_argument
@where_options
@filter_options
@pending_option
@name_option
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file, which only you may read; default: standard output.",
)
@socket_option
@click.pass_obj
def export(config_path: Path, /, group: str, socket: Path | None, *, output: Path | None, **given: Any) -> None:  # noqa: ANN401
    """Write dead letters as lines of JSON, values (base64) included; --file of the other commands reads them.

    \b
    Example:
      supervisor dlq export orders --since 1d --output letters.jsonl

    \b
    Exit codes: 0 written, 1 failed or told to stop: not all are written, 2 wrong usage, 4 not allowed,
                78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    request = request_of(config_path, group, Verb.EXPORT, given)
    with lines_to(output) as lines:
        Audit(config_path, socket, request).tell("exported", f"to {output or 'standard output'}")
        answer = asked(request, "exporting", is_quiet=output is None, line=lines.write)
        to_its_end(answer)
    click.echo(f"{lines.count} letters; {rest_of(answer)}".rstrip("; "), err=True)


@click.command()
@group_argument
@where_options
@filter_options
@pending_option
@name_option
@click.option("--dry-run", is_flag=True, help="Drop nothing; say what would be dropped.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@socket_option
@click.pass_obj
def drop(
    config_path: Path,
    /,
    group: str,
    socket: Path | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Delete dead letters for good.

    \b
    From files and tables just those that are meant. From Kafka topics only what stands at the beginning of a
    partition, up to the first letter that is not meant: Kafka can delete nothing else. What stays for that
    reason is said. Needs the right to DELETE of the topic.

    \b
    Examples:
      supervisor dlq drop orders --until 30d --dry-run
      supervisor dlq drop orders --until 30d --yes

    \b
    Exit codes: 0 done (or would be), 1 failed, told to stop, not wanted, or some that were meant stay,
                2 wrong usage, 4 not allowed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if as_json and not (yes or dry_run):
        message = "--json asks nobody: add --yes or --dry-run"
        raise click.UsageError(message)
    request = request_of(config_path, group, Verb.DROP, given)
    would = asked(replace(request, replay=replace(request.replay, dry_run=True)), "counting", is_quiet=as_json)
    to_its_end(would, "; nothing was dropped")
    if dry_run or not would.counts.dropped:
        _tell_dropped(would, as_json=as_json, dry_run=dry_run)
        return
    if not yes and not click.confirm(f"Delete {would.counts.dropped} letters of group {group} for good?"):
        message = "nothing was dropped"
        raise CommandError(message)
    audit = Audit(config_path, socket, request)
    audit.tell("drop_started", f"{would.counts.dropped} letters are to be dropped")
    with audit.noted("dropping", is_quiet=as_json) as answer:
        if answer.error:
            raise CommandError(answer.error)
        to_its_end(answer, "; nothing was dropped")
        _tell_dropped(answer, as_json=as_json)


def _tell_dropped(answer: DlqAnswer, *, as_json: bool, dry_run: bool = False) -> None:
    if as_json:
        print_json(answer)
    else:
        would_be = "would be dropped" if dry_run else "dropped"
        click.echo(f"{answer.counts.dropped} letters {would_be}; {rest_of(answer)}".rstrip("; "))
        for line in answer.kept:
            click.echo(f"kept: {line}")
    if answer.kept and not dry_run:
        raise click.exceptions.Exit(1)


@click.command()
@group_argument
@click.option("--rate", metavar="N/s", callback=rate, help='At most so fast: "100/s", "30/m".')
@json_option
@socket_option
@click.pass_obj
def drain(config_path: Path, /, group: str, socket: Path | None, *, rate: float, as_json: bool) -> None:
    """Send what the fallback dlq_file has spooled to the group's sink; empty files are deleted.

    \b
    A running supervisor does so by itself. Workers may go on meanwhile. What the sink does not take stays.

    \b
    Example:
      supervisor dlq drain orders

    \b
    Exit codes: 0 nothing is left, 1 something is, or there is no spool, 2 wrong usage, 4 not allowed,
                78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    config, spec = loaded(config_path, group)
    if not is_spooled(spec):
        message = f'group {group} has no spool\n  help: its dead_letters.fallback is not "{SPOOL}", or its sink is'
        raise CommandError(message)
    request = DlqRequest(
        Verb.DRAIN,
        spec,
        config.supervisor.state_dir,
        parent_pid=os.getpid(),
        where=Where(Place.FILE),
        replay=Replay(rate=rate),
        supervisor=config.supervisor.name,
    )
    with Audit(config_path, socket, request).noted("draining", is_quiet=as_json) as answer:
        _tell_drained(answer, as_json=as_json)


def _tell_drained(answer: DlqAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{words(answer.counts)}; {answer.counts.files} files emptied")
    if answer.error:
        raise CommandError(answer.error)
    left = f"not empty yet: {', '.join(answer.kept)}" if answer.kept else ""
    to_its_end(answer, left and f"; {left}")
    if left:
        raise CommandError(left)
