"""Where text goes: a terminal gets tables that fit it, a pipe gets whole values on lines of any length."""

import json
import sys
from typing import Any

import click
from rich.console import Console

from supervisor.core.jsonable import to_json

UNBOUNDED = 10_000


def console(*, err: bool = False) -> Console:
    """Return a console for standard output (or error); without a terminal nothing is cut, wrapped or coloured.

    Brackets are brackets: what is shown was often written by others.
    """
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        return Console(file=stream, highlight=False, emoji=False, markup=False)
    return Console(file=stream, width=UNBOUNDED, no_color=True, highlight=False, emoji=False, markup=False)


def print_json(value: Any) -> None:  # noqa: ANN401 - a JSON value has no narrower type
    """Print ``value`` as one JSON document, dataclasses as objects."""
    text = json.dumps(to_json(value), indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # the terminal's encoding has not all of it, or it is no text: half a surrogate pair
        text = json.dumps(to_json(value), indent=2)
    click.echo(text)
