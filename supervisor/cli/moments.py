"""Moments as people write them in options: how long ago, or a date and time."""

import time
from datetime import datetime

import click

from supervisor.core.durations import parse_duration


def moment_of(text: str) -> float:
    """Return the wall time that is meant: so long ago, or a date and time (without a zone: of this host).

    Raises ``ValueError`` for what is neither, or in no year that a date could be written of.
    """
    seconds = ago(text)
    try:
        at = datetime.fromisoformat(text).timestamp() if seconds is None else time.time() - seconds
        datetime.fromtimestamp(at).astimezone()
    except (OSError, OverflowError) as error:
        raise ValueError(str(error)) from error
    return at


def ago(text: str) -> float | None:
    """Return how many seconds ago a text means, ``None`` when it means the same moment whenever it is read."""
    try:
        return parse_duration(text)
    except ValueError:
        return None


def moment(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """Return what ``moment_of`` does; an option's callback."""
    try:
        return None if text is None else moment_of(text)
    except ValueError as error:
        message = f'{text!r} is no time; write a duration ("2h" ago) or a date: 2026-01-31, "2026-01-31 14:00"'
        raise click.BadParameter(message) from error
