"""``supervisor dlq list | show | stats | replay | export | drop``."""

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import click

from supervisor.cli.dlq.asking import ask, words
from supervisor.cli.dlq.audit import Audit, numbers
from supervisor.cli.dlq.options import filter_of, filter_options, loaded, rate, where_of, where_options
from supervisor.cli.dlq.showing import show_letter, show_reasons, show_stats, show_table
from supervisor.cli.errors import CommandError
from supervisor.cli.output import print_json
from supervisor.cli.project import socket_option
from supervisor.core.dlq import DlqAnswer, DlqRequest, Replay, Verb
from supervisor.core.replay import Filter, fingerprint

DEFAULT = "default"

_group = click.argument("group")
_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
_pending = click.option("--pending", is_flag=True, help="Only those that the replay --name has not passed.")
_name = click.option("--name", metavar="NAME", default="", help="The replay; default: by its filter and --to.")


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
@_group
@where_options
@filter_options
@_pending
@_name
@click.option("-n", "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="The newest; 0: all.")
@_json
@click.pass_obj
def list_(config_path: Path, /, group: str, *, limit: int, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """List dead letters, the newest last: where they came from and why, never what they hold.

    \b
    Examples:
      supervisor dlq list orders --since 2h
      supervisor dlq list orders --topic orders-dlt --exception DeserializationException

    \b
    Exit codes: 0 listed, 1 no answer or no such group, 2 wrong usage, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    request = replace(_request(config_path, group, Verb.LIST, given), limit=limit)
    answer = _asked(request, "reading", is_quiet=as_json)
    if as_json:
        print_json(answer)
        return
    show_table(answer.letters)
    left = answer.counts.read - answer.counts.passed - len(answer.letters)
    click.echo(f"{left} older ones are not shown: --limit 0" if left > 0 else _rest(answer), err=True)


@dlq.command()
@_group
@click.argument("letter")
@where_options
@click.option("--value", is_flag=True, help="Print what the record held, too.")
@_json
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
    Exit codes: 0 shown, 1 no such letter or no answer, 2 wrong usage, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    request = replace(_request(config_path, group, Verb.SHOW, given), one=letter, limit=0, values=value)
    answer = _asked(request, "looking", is_quiet=as_json)
    if not answer.letters:
        message = f"group {group} has no dead letter {letter!r}\n  help: supervisor dlq list {group}"
        raise CommandError(message)
    if as_json:
        print_json(answer.letters)
        return
    for found in answer.letters:
        show_letter(found, value=value)


@dlq.command()
@_group
@where_options
@filter_options
@_pending
@_name
@_json
@click.pass_obj
def stats(config_path: Path, /, group: str, *, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Count dead letters by reason, origin and place.

    \b
    Examples:
      supervisor dlq stats orders
      supervisor dlq stats orders --pending

    \b
    Exit codes: 0 shown, 1 no answer or no such group, 2 wrong usage, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    answer = _asked(_request(config_path, group, Verb.STATS, given), "counting", is_quiet=as_json)
    if as_json:
        print_json(answer)
        return
    show_stats(answer)
    click.echo(_rest(answer), err=True)


@dlq.command()
@_group
@where_options
@filter_options
@_name
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
@_json
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
    Exit codes: 0 done (or would be), 1 failed or told to stop: the same command goes on, 2 wrong usage,
                4 not allowed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    how = Replay("", to, by_key=by_key, rate=rate, max_replays=max_replays, most=most or 0, restart=restart)
    request = _request(config_path, group, Verb.REPLAY, given, how=replace(how, dry_run=dry_run))
    audit = Audit(config_path, socket, request)
    if not dry_run:
        audit.tell("replay_started", f"replay {request.replay.name}: {request.meant.text}")
    answer = DlqAnswer(error="it ended without an answer")
    try:
        answer = ask(request, title="dry run" if dry_run else "replaying", is_quiet=as_json)
    finally:
        if not dry_run:
            ended = "failed" if answer.error else "stopped" if answer.stopped else "done"
            text = f"replay {request.replay.name}: {words(answer.counts)}"
            audit.tell("replayed", text, {"ended": ended, **numbers(answer.counts)})
    _tell_replay(answer, request, as_json=as_json)


@dlq.command()
@_group
@where_options
@filter_options
@_pending
@_name
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
    Exit codes: 0 written, 1 failed, 2 wrong usage, 4 not allowed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    request = _request(config_path, group, Verb.EXPORT, given)
    audit = Audit(config_path, socket, request)
    audit.tell("exported", f"to {output or 'standard output'}")
    with _new_file(output) if output else nullcontext(None) as file:
        answer = _asked(request, "exporting", is_quiet=output is None, file=file)
    count = answer.counts.read - answer.counts.passed
    click.echo(f"{count} letters; {_rest(answer)}".rstrip("; "), err=True)


@dlq.command()
@_group
@where_options
@filter_options
@_pending
@_name
@click.option("--dry-run", is_flag=True, help="Drop nothing; say what would be dropped.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_json
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
    Exit codes: 0 done (or would be), 1 failed, not wanted, or some that were meant stay, 2 wrong usage,
                4 not allowed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if as_json and not (yes or dry_run):
        message = "--json asks nobody: add --yes or --dry-run"
        raise click.UsageError(message)
    request = _request(config_path, group, Verb.DROP, given)
    would = _asked(replace(request, replay=replace(request.replay, dry_run=True)), "counting", is_quiet=as_json)
    answer = would
    if not dry_run and would.counts.dropped:
        if not yes and not click.confirm(f"Delete {would.counts.dropped} letters of group {group} for good?"):
            message = "nothing was dropped"
            raise CommandError(message)
        audit = Audit(config_path, socket, request)
        audit.tell("drop_started", f"{would.counts.dropped} letters are to be dropped")
        answer = _asked(request, "dropping", is_quiet=as_json)
        audit.tell("dropped", words(answer.counts), numbers(answer.counts))
    if as_json:
        print_json(answer)
    else:
        would_be = "would be dropped" if dry_run else "dropped"
        click.echo(f"{answer.counts.dropped} letters {would_be}; {_rest(answer)}".rstrip("; "))
        for line in answer.kept:
            click.echo(f"kept: {line}")
    if answer.kept and not dry_run:
        raise click.exceptions.Exit(1)


def _request(
    config_path: Path, group: str, verb: Verb, given: dict[str, Any], *, how: Replay | None = None
) -> DlqRequest:
    config, spec = loaded(config_path, group)
    where = where_of(given, config, group)
    meant = filter_of(given) if "dispositions" in given else Filter()
    how = how or Replay()
    name = cast("str", given.pop("name", ""))
    if not name:
        is_plain = verb is not Verb.REPLAY or (meant.is_empty and not how.to and not how.by_key)
        name = DEFAULT if is_plain else fingerprint(meant, to=how.to, by_key=how.by_key)
    return DlqRequest(
        verb,
        spec,
        config.supervisor.state_dir,
        parent_pid=os.getpid(),
        where=where,
        meant=meant,
        replay=replace(how, name=name),
        pending=bool(given.pop("pending", False)),
        supervisor=config.supervisor.name,
    )


def _asked(request: DlqRequest, title: str, *, is_quiet: bool, file: IO[str] | None = None) -> DlqAnswer:
    def write(line: str) -> None:
        click.echo(line, file=file)

    answer = ask(request, title=title, is_quiet=is_quiet, line=write)
    if answer.error:
        raise CommandError(answer.error)
    return answer


def _tell_replay(answer: DlqAnswer, request: DlqRequest, *, as_json: bool) -> None:
    how = request.replay
    if as_json:
        print_json(answer)
    elif how.dry_run:
        show_reasons(answer.reasons)
        click.echo(f"nothing was sent (dry run); {words(answer.counts).replace(' sent', ' would be sent')}")
    else:
        went_on = " (it went on where it was)" if answer.resumed else ""
        click.echo(f"replay {how.name}{went_on}: {words(answer.counts)}")
    if answer.error:
        message = f"{answer.error}\nthe same command goes on from where it was"
        raise CommandError(message)
    if answer.stopped:
        message = "told to stop; the same command goes on from where it was"
        raise CommandError(message)


def _rest(answer: DlqAnswer) -> str:
    """Return what else there was, for people."""
    counts = answer.counts
    told = ((counts.passed, "not meant"), (counts.unreadable, "unreadable"))
    return ", ".join(f"{count} {what}" for count, what in told if count)


def _new_file(path: Path) -> IO[str]:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise CommandError(message) from error
    return os.fdopen(file, "w", encoding="utf-8")
