"""From what a ``dlq`` command was given to a request, and from there to an answer without an error."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click

from supervisor.cli.dlq.asking import Line, ask
from supervisor.cli.dlq.options import filter_of, loaded, where_of
from supervisor.cli.errors import CommandError
from supervisor.core.dlq import DlqAnswer, DlqRequest, Replay, Verb, replay_name
from supervisor.core.replay import Filter


def request_of(
    config_path: Path, group: str, verb: Verb, given: dict[str, Any], *, how: Replay | None = None
) -> DlqRequest:
    """Return the request for what a command was given; takes the options of ``options`` out of ``given``."""
    config, spec = loaded(config_path, group)
    where = where_of(given, config, group)
    meant = filter_of(given) if "dispositions" in given else Filter()
    how = how or Replay()
    how = replace(how, name=cast("str", given.pop("name", "")))
    return DlqRequest(
        verb,
        spec,
        config.supervisor.state_dir,
        parent_pid=os.getpid(),
        where=where,
        meant=meant,
        replay=replace(how, name=replay_name(verb, meant, how)),
        pending=bool(given.pop("pending", False)),
        supervisor=config.supervisor.name,
    )


def asked(request: DlqRequest, title: str, *, is_quiet: bool, line: Line = click.echo) -> DlqAnswer:
    """Return the answer to a request; an error is the command's. Exported letters go to ``line``."""
    answer = ask(request, title=title, is_quiet=is_quiet, line=line)
    if answer.error:
        raise CommandError(answer.error)
    return answer


def to_its_end(answer: DlqAnswer, else_: str = "") -> None:
    """Raise ``CommandError`` for what was told to stop before its end: it looks like all of it."""
    if answer.stopped:
        counts = answer.counts
        message = f"told to stop after {counts.read} of about {max(counts.total, counts.read)} letters{else_}"
        raise CommandError(message)


def rest_of(answer: DlqAnswer) -> str:
    """Return what else there was, for people."""
    counts = answer.counts
    told = ((counts.passed, "not meant"), (counts.unreadable, "unreadable"))
    return ", ".join(f"{count} {what}" for count, what in told if count)
