"""``supervisor run``."""

import sys
from pathlib import Path

import click

from supervisor.cli.actions import seconds
from supervisor.cli.project import load_config
from supervisor.core.suggest import did_you_mean
from supervisor.parent import app
from supervisor.parent.running.until_end import Until


@click.command()
@click.argument("groups", metavar="[GROUP...]", nargs=-1)
@click.option("--until-end", is_flag=True, help="Work to the ends that the topics have now, then stop and exit.")
@click.option(
    "--patience",
    metavar="DURATION",
    callback=seconds,
    default="10m",
    show_default=True,
    help="With --until-end: give up when no committed offset has moved for so long.",
)
@click.pass_obj
def run(config_path: Path, groups: tuple[str, ...], *, until_end: bool, patience: float) -> None:
    """Run all groups in the foreground until SIGTERM or Ctrl-C.

    \b
    This is what systemd starts. It first loads every plugin and handler and tries librdkafka's settings in
    a throwaway process, and refuses to start when something is wrong. SIGTERM drains the workers, commits
    and leaves the Kafka groups; a second Ctrl-C does not wait for handlers.

    \b
    With --until-end (backfills, tests) it works to the ends that the topics have at its start, then stops.
    GROUPs name what is run then; default: all. Other hosts may work the same groups: what counts is what is
    committed. Records that arrive later are not waited for.

    \b
    Examples:
      supervisor -c /etc/shop/supervisor.toml run
      supervisor run --until-end orders

    \b
    Exit codes: 0 stopped as asked, or all ends reached; 1 every group was given up, or the ends were not
                reached, or a slot was given up on the way; 2 wrong usage, 73 already running with this
                configuration, 78 wrong configuration or plugin.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    config = load_config(config_path)
    if groups and not until_end:
        message = "groups can be named with --until-end only"
        raise click.UsageError(message)
    for name in groups:
        if name not in config.enabled:
            message = f"no group that is enabled is called {name!r}. {did_you_mean(name, config.enabled)}"
            raise click.UsageError(message.strip())
    for warning in config.warnings:
        click.echo(f"warning:\n{warning.render()}", err=True)
    sys.exit(app.run(config, Until(groups, patience) if until_end else None))
