"""``supervisor config show | schema``."""

import json
from pathlib import Path

import click

from supervisor.cli.output import print_json
from supervisor.cli.project import load_config
from supervisor.config import json_schema


@click.group()
def config() -> None:
    """Show the configuration as it is understood, or its schema.

    \b
    Examples:
      supervisor config show
      supervisor config schema > supervisor.schema.json
    """  # noqa: D301 - \b is click's mark for text that keeps its lines


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON instead of TOML.")
@click.pass_obj
def show(config_path: Path, *, as_json: bool) -> None:
    """Print the effective configuration: all defaults filled in, secrets masked.

    \b
    Exit codes: 0 printed, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    loaded = load_config(config_path)
    if as_json:
        print_json(loaded.effective())
    else:
        click.echo(loaded.describe(), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors and other tools.

    \b
    Exit codes: 0 printed.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    click.echo(json.dumps(json_schema(), indent=2))
