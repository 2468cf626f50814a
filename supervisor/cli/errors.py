"""How a command says that it could not: text on standard error, and an exit code."""

from typing import IO, Any

import click

from supervisor.core.exits import ExitCode


class CommandError(click.ClickException):
    """A command failed for a reason we can put in words; ``main`` prints it and exits with ``code``."""

    def __init__(self, message: str, *, code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.code = code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """What click exits with."""
        return int(self.code)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message without click's "Error:" in front."""
        click.echo(self.format_message(), file=file, err=file is None)
