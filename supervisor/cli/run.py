"""``supervisor run``."""

import sys
from pathlib import Path

import click

from supervisor.cli.project import load_config
from supervisor.parent import app


@click.command()
@click.pass_obj
def run(config_path: Path) -> None:
    """Run all groups in the foreground until SIGTERM or Ctrl-C.

    \b
    This is what systemd starts. It first loads every plugin and handler and tries librdkafka's settings in
    a throwaway process, and refuses to start when something is wrong. SIGTERM drains the workers, commits
    and leaves the Kafka groups; a second Ctrl-C does not wait for handlers.

    \b
    Example:
      supervisor -c /etc/shop/supervisor.toml run

    \b
    Exit codes: 0 stopped as asked, 1 every group was given up, 73 already running with this
                configuration, 78 wrong configuration or plugin.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    config = load_config(config_path)
    for warning in config.warnings:
        click.echo(f"warning:\n{warning.render()}", err=True)
    sys.exit(app.run(config))
