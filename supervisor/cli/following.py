"""Wait at a terminal for what the supervisor does in its own time."""

import time

import click

from supervisor.cli.errors import CommandError
from supervisor.control.answers import Operation
from supervisor.control.client import ControlClient
from supervisor.core.durations import format_duration
from supervisor.core.exits import ExitCode

EVERY = 0.2


def follow(supervisor: ControlClient, begun: Operation, timeout: float) -> None:
    """Show what an operation says until it is over; raise what it failed with."""
    deadline = time.monotonic() + timeout
    shown = 0
    now = begun
    while True:
        for line in now.lines[shown:]:
            click.echo(line)
        shown = max(shown, len(now.lines))
        if now.state == "failed":
            raise CommandError(now.error, code=ExitCode(now.code))
        if now.state != "running":
            return
        if time.monotonic() > deadline:
            message = f"not done after {format_duration(timeout)}; it goes on, see: supervisor status"
            raise CommandError(message)
        time.sleep(EVERY)
        now = supervisor.operation(begun.number)
