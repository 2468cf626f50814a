"""The options that several ``dlq`` commands have, and what they mean."""

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from supervisor.cli.errors import CommandError
from supervisor.cli.moments import ago, moment
from supervisor.cli.project import load_config
from supervisor.config import Config, group_spec
from supervisor.core.dlq import SINKS, Place, Verb, Where
from supervisor.core.replay import Filter, HeaderTest, Origins
from supervisor.core.spec import GroupSpec
from supervisor.core.suggest import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])
SQLITE = b"SQLite format 3\0"
"""How each such file begins (https://www.sqlite.org/fileformat.html)."""
DISPOSITIONS = ("error", "timeout", "worker-killed", "deserialization", "plugin-error", "breaker")

group_argument = click.argument("group")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
pending_option = click.option("--pending", is_flag=True, help="Only those that the replay --name has not passed.")
name_option = click.option("--name", metavar="NAME", default="", help="The replay; default: by its filter and --to.")


def _moment(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Return the wall time that an option means.

    A replay must be told which moment: the same command goes on from where it was, and means the same letters.
    """
    at = moment(ctx, param, text)
    if text is not None and at is not None and ctx.command.name == Verb.REPLAY and ago(text) is not None:
        written = datetime.fromtimestamp(int(at)).astimezone().isoformat(" ")
        message = f'{text!r} is another moment each time, and a replay goes on as it was begun; write "{written}"'
        raise click.BadParameter(message)
    return at


def _header(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[HeaderTest, ...]:
    try:
        return tuple(map(HeaderTest.parsed, texts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _origin(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[Origins, ...]:
    try:
        return tuple(map(Origins.parsed, texts))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def rate(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float:
    """Return letters per second from ``100/s``, ``100`` or ``30/m``; 0 without."""
    if text is None:
        return 0.0
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:/(s|m|h))?", text)
    per = {"s": 1.0, "m": 60.0, "h": 3600.0}
    value = float(found[1]) / per[found[2] or "s"] if found else 0.0
    if not 0 < value < math.inf:
        message = f'{text!r} is no rate: write "100/s", "30/m"'
        raise click.BadParameter(message)
    return value


def where_options(command: F) -> F:
    """Add which letters a command is about: where they lie."""
    for option in (
        click.option(
            "--file",
            "files",
            metavar="PATH",
            multiple=True,
            type=click.Path(path_type=Path, dir_okay=False),
            help="Letters of this file instead: one that `dlq export` wrote, or another host's spool.",
        ),
        click.option(
            "--topic",
            "topics",
            metavar="NAME",
            multiple=True,
            help="Letters of this topic instead: of Spring Kafka, Kafka Connect, or parked ones.",
        ),
        click.option(
            "--source",
            type=click.Choice([place.value for place in Place]),
            help="Where the letters lie; default: where the group's sink writes them.",
        ),
    ):
        command = option(command)
    return command


def filter_options(command: F) -> F:
    """Add which letters a command is about: what they are."""
    for option in (
        click.option("--header", "headers", metavar="NAME[=VALUE]", multiple=True, callback=_header, help="Has it."),
        click.option("--key", "keys", metavar="TEXT", multiple=True, help='Has this key; "hex:00ff" for bytes.'),
        click.option("--until", metavar="TIME", callback=_moment, help="Failed before that time."),
        click.option(
            "--since",
            metavar="TIME",
            callback=_moment,
            help='Failed since then: 2026-01-31, "2026-01-31 14:00"; "2h" ago, but not for replay.',
        ),
        click.option(
            "--origin",
            "origins",
            metavar="TOPIC[/P[@OFFSET[-OFFSET]]]",
            multiple=True,
            callback=_origin,
            help="Was this record, or one of these.",
        ),
        click.option(
            "--exception",
            "exceptions",
            metavar="CLASS",
            multiple=True,
            help="Failed with this exception: its name, whole or the last part.",
        ),
        click.option(
            "--disposition",
            "dispositions",
            type=click.Choice(DISPOSITIONS),
            multiple=True,
            help="Became a dead letter for this; several times: any of them.",
        ),
    ):
        command = option(command)
    return command


def filter_of(given: dict[str, Any]) -> Filter:
    """Take the options of ``filter_options`` out of what a command was given."""
    return Filter(
        headers=given.pop("headers"),
        since=given.pop("since"),
        until=given.pop("until"),
        keys=given.pop("keys"),
        exceptions=given.pop("exceptions"),
        dispositions=given.pop("dispositions"),
        origins=given.pop("origins"),
    )


def where_of(given: dict[str, Any], config: Config, group: str) -> Where:
    """Take the options of ``where_options`` out of what a command was given."""
    source, topics, files = given.pop("source"), given.pop("topics"), given.pop("files")
    if topics and (files or source not in {None, Place.KAFKA.value}):
        message = "--topic is about Kafka, --file and another --source are not: give one of them"
        raise click.UsageError(message)
    if source is None and (topics or files):
        source = Place.KAFKA if topics else _kind(files)
    if source is None:
        sink = config.groups[group].dead_letters.sink
        source = SINKS.get(sink)
        if source is None:
            message = (
                f"the sink {sink!r} of group {group} is none of ours\n  help: say where: --topic NAME or --file PATH"
            )
            raise CommandError(message)
    return Where(Place(source), tuple(topics), tuple(str(path.absolute()) for path in files))


def loaded(config_path: Path, group: str) -> tuple[Config, GroupSpec]:
    """Return the configuration and what it says of ``group``, which may be a disabled one."""
    config = load_config(config_path)
    if group not in config.groups:
        guess = did_you_mean(group, config.groups)
        message = f"no group is called {group!r}\n  help: {guess}groups: {', '.join(config.groups)}"
        raise CommandError(message)
    return config, group_spec(config, group)


def _kind(paths: Sequence[Path]) -> Place:
    kinds = {Place.SQLITE if _is_table(path) else Place.FILE for path in paths}
    if len(kinds) > 1:
        message = "--file: some are SQLite files, others are not: give one kind at a time"
        raise click.UsageError(message)
    return kinds.pop()


def _is_table(path: Path) -> bool:
    """Tell whether a file is, or is called as if it were, an SQLite file; one that cannot be read is told later."""
    begins = b""
    with suppress(OSError):
        if path.is_file():  # a pipe would have us wait
            with path.open("rb") as file:
                begins = file.read(len(SQLITE))
    return begins == SQLITE or path.suffix in {".sqlite", ".sqlite3", ".db"}
