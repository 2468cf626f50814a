"""The configuration and the running supervisor that a command is about; their errors as text and exit codes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from supervisor.cli.errors import CommandError
from supervisor.config import Config, ConfigError, control_socket, load
from supervisor.control.client import ControlClient, ControlError, NotAllowed, NotRunning, Refused
from supervisor.core.exits import ExitCode

F = TypeVar("F", bound=Callable[..., Any])


def load_config(path: Path) -> Config:
    """Load ``path``; every problem of it is the command's last words, exit code 78."""
    try:
        return load(path)
    except ConfigError as error:
        raise CommandError(str(error), code=ExitCode.CONFIG) from error


def socket_option(command: F) -> F:
    """Add ``--socket`` to a command that speaks to a running supervisor."""
    return click.option(
        "--socket",
        type=click.Path(path_type=Path),
        envvar="SUPERVISOR_SOCKET",
        show_envvar=True,
        help="The control socket; without it the configuration says where it is.",
    )(command)


def client(config_path: Path, socket: Path | None) -> ControlClient:
    """Return a client of the supervisor that runs ``config_path``, or that listens on ``socket``."""
    if socket is not None:
        return ControlClient(socket)
    try:
        return ControlClient(control_socket(config_path))
    except ConfigError as error:
        raise CommandError(str(error), code=ExitCode.CONFIG) from error


@contextmanager
def control_errors() -> Iterator[None]:
    """Turn what the control client raises into one line and its exit code."""
    try:
        yield
    except NotRunning as error:
        message = f"{error}; one run by systemd or by another user has its own: --socket PATH"
        raise CommandError(message, code=ExitCode.NOT_RUNNING) from error
    except NotAllowed as error:
        raise CommandError(str(error), code=ExitCode.NOT_ALLOWED) from error
    except Refused as error:
        raise CommandError(f"{error}\n  help: {error.help}" if error.help else str(error)) from error
    except ControlError as error:
        raise CommandError(str(error)) from error
