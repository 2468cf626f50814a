"""How dead letters look at a terminal."""

import time
from base64 import b64decode
from collections.abc import Mapping, Sequence

import click
from rich.table import Table
from rich.text import Text

from supervisor.cli.output import console
from supervisor.core.dlq import DlqAnswer, Letter, Parts
from supervisor.core.letter_view import LetterView
from supervisor.core.replay import ReasonCount

LONG = ("stack", "stacktrace", "log-lines")


def show_table(letters: Sequence[Letter]) -> None:
    """Print one line per letter."""
    table = _table("LETTER", "FAILED", "ORIGIN", "DISPOSITION", "EXCEPTION", "ATTEMPTS", "REPLAYS", "BYTES")
    for column in table.columns[5:]:
        column.justify = "right"
    for letter in letters:
        view = letter.view
        table.add_row(
            letter.id,
            _time(view.failed_at if view.failed_at is not None else letter.written_at),
            Text(_plain(view.origin)),
            Text(_plain(view.disposition) or "-"),
            Text(_plain(view.exception) or "-"),
            "-" if view.attempts is None else str(view.attempts),
            str(view.replays),
            str(letter.size),
        )
    console().print(table)


def show_letter(letter: Letter, *, value: bool) -> None:
    """Print all that is known of one letter; its value only when that was asked for."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _facts(letter):
        if text:
            table.add_row(name, Text(_plain(text)))
    out = console()
    out.print(table)
    out.print(Text("headers", style="bold"))
    headers = Table(box=None, show_header=False, pad_edge=False)
    headers.add_column(no_wrap=True)
    headers.add_column(overflow="fold")
    for name, header in letter.headers:
        is_long = name.endswith(LONG)
        headers.add_row(Text(f"  {_plain(name)}"), Text("-" if header is None else ("\n" if is_long else "") + header))
    out.print(headers)
    if value:
        out.print(Text("value", style="bold"))
        click.echo("(none)" if letter.value is None else b64decode(letter.value))


def show_reasons(reasons: Sequence[ReasonCount]) -> None:
    """Print the histogram of reasons."""
    table = _table("LETTERS", "DISPOSITION", "EXCEPTION")
    table.columns[0].justify = "right"
    for one in reasons:
        table.add_row(str(one.count), Text(_plain(one.disposition) or "-"), Text(_plain(one.exception) or "-"))
    console().print(table)


def show_stats(answer: DlqAnswer) -> None:
    """Print the histogram and where letters come from and lie."""
    show_reasons(answer.reasons)
    parts: Parts = answer.parts
    for title, counts in (("ORIGIN", parts.origins), ("PLACE", parts.places), ("REPLAYS", parts.replays)):
        if counts:
            console().print()
            _show_counts(title, counts)
    if parts.oldest is not None:
        click.echo(f"\noldest {_time(parts.oldest)}, newest {_time(parts.newest)}")


def _show_counts(title: str, counts: Mapping[str, int]) -> None:
    table = _table("LETTERS", title)
    table.columns[0].justify = "right"
    for name, count in counts.items():
        table.add_row(str(count), Text(_plain(name) or "(not known)"))
    console().print(table)


def _facts(letter: Letter) -> tuple[tuple[str, str], ...]:
    view: LetterView = letter.view
    return (
        ("letter", letter.id),
        ("audit id", view.audit_id),
        ("headers of", view.convention.value),
        ("origin", view.origin),
        ("origin's time", _time(view.timestamp) if view.timestamp is not None else ""),
        ("group", view.group),
        ("disposition", view.disposition),
        ("reason", view.reason),
        ("attempts", "" if view.attempts is None else str(view.attempts)),
        ("first failed", _time(view.first_failed_at) if view.first_failed_at is not None else ""),
        ("failed", _time(view.failed_at) if view.failed_at is not None else ""),
        ("written", _time(letter.written_at) if letter.written_at is not None else ""),
        ("exception", " caused by ".join(view.exceptions)),
        ("message", view.message),
        ("replays", str(view.replays)),
        ("key", "(none)" if letter.key is None else letter.key),
        ("value", f"{letter.size} bytes"),
    )


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def _plain(text: str) -> str:
    """Return text without what a terminal would obey: headers come from anybody."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _time(at: float | None) -> str:
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
