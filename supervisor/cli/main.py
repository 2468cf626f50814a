"""The ``supervisor`` command: finds the command that was asked for and loads only its module."""

import errno
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import cast

import click

from supervisor import __version__
from supervisor.cli.guard import rival_distributions, rival_message
from supervisor.core.exits import ExitCode
from supervisor.core.suggest import did_you_mean

COMMANDS = {
    "run": "supervisor.cli.run",
    "check": "supervisor.cli.check",
    "status": "supervisor.cli.status",
    "events": "supervisor.cli.events",
    "alerts": "supervisor.cli.alerts",
    "silence": "supervisor.cli.alerts",
    "runbook": "supervisor.cli.runbook",
    "stop": "supervisor.cli.actions",
    "start": "supervisor.cli.actions",
    "restart": "supervisor.cli.actions",
    "hold": "supervisor.cli.actions",
    "reload": "supervisor.cli.changes",
    "scale": "supervisor.cli.changes",
    "drain": "supervisor.cli.changes",
    "pause": "supervisor.cli.changes",
    "resume": "supervisor.cli.resume",
    "dump": "supervisor.cli.changes",
    "offsets": "supervisor.cli.offsets",
    "dlq": "supervisor.cli.dlq.command",
    "plugins": "supervisor.cli.plugins",
    "config": "supervisor.cli.config",
    "init": "supervisor.cli.init",
    "demo": "supervisor.cli.demo.command",
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for: ``status`` does not wait for the demo's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return one command."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        if cmd_name == "run":
            _outlive_early_signals()
        return cast("click.Command", getattr(importlib.import_module(module), cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for one that is not there say which was perhaps meant."""
        guess = did_you_mean(args[0], COMMANDS) if args and args[0] not in COMMANDS else ""
        if guess and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. {guess[0].upper()}{guess[1:].strip()}")
        return super().resolve_command(ctx, args)


def _outlive_early_signals() -> None:
    """Have no reload or reopening that comes while the supervisor is still being imported end it.

    There is nothing to reload or reopen yet; ``parent.running.signals`` listens later. A terminal that
    goes away ends it.
    """
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if number != signal.SIGHUP or not sys.stderr.isatty():
            signal.signal(number, lambda _number, _frame: None)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("supervisor.toml"),
    envvar="SUPERVISOR_CONFIG",
    show_envvar=True,
    show_default=True,
    help="The configuration file.",
)
@click.version_option(__version__, "--version", prog_name="supervisor")
@click.pass_context
def cli(ctx: click.Context, config_path: Path) -> None:
    """Run Kafka handlers as self-healing worker processes.

    \b
    A project in four steps:
      supervisor init shop     write a project: configuration, handler, test, unit file
      supervisor -c shop/supervisor.toml check
                               is everything right: configuration, plugins, broker, topics, permissions?
      supervisor -c shop/supervisor.toml run
                               run it in the foreground, as systemd does
      supervisor -c shop/supervisor.toml status
                               what every worker does right now

    \b
    No Kafka at hand? `supervisor demo` brings its own and shows what happens when a worker dies.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing is running, 4 not allowed,
                73 already running, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    ctx.obj = config_path


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    rivals = rival_distributions()
    if rivals:
        click.echo(f"supervisor: {rival_message(rivals)}", err=True)
        sys.exit(ExitCode.FAILURE)
    try:
        cli.main(prog_name="supervisor")
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        click.echo(f"supervisor: standard output: {error.strerror}", err=True)
        # What it could not write would be tried again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(ExitCode.FAILURE)
