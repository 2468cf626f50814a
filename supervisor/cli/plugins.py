"""``supervisor plugins``."""

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from supervisor.cli.inspect import inspect
from supervisor.cli.output import console, print_json
from supervisor.cli.project import load_config
from supervisor.config import plugins_request

TIMEOUT = 60.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def plugins(config_path: Path, *, as_json: bool) -> None:
    """List installed plugins, their hooks, and where they are active.

    \b
    Installed is not active: a plugin runs where the configuration lists it (a group's `plugins`,
    `dead_letters.sink`, `dead_letters.fallback`, or `supervisor.alerts`). Works without a
    configuration too: then nothing is active.

    \b
    Examples:
      supervisor plugins
      supervisor plugins --json

    \b
    Exit codes: 0 listed, 1 they could not be looked at, 78 wrong configuration.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    request: dict[str, Any] = plugins_request(load_config(config_path)) if config_path.is_file() else {}
    answer = inspect("plugins", {**request, "installed": True}, timeout=TIMEOUT)
    if as_json:
        print_json(answer)
        return
    where = _where(answer["active"])
    table = Table("PLUGIN", "HOOKS", "ACTIVE IN", "FROM", "", box=None, pad_edge=False, header_style="bold")
    for name, one in answer["installed"].items():
        about = f"cannot be loaded: {one['problem']}" if one["problem"] else one["about"]
        active = ", ".join(where.pop(name, ())) or "-"
        table.add_row(name, ", ".join(one["hooks"]) or "-", active, f"{one['distribution']} {one['version']}", about)
    for name, places in where.items():
        table.add_row(name, "-", ", ".join(places), "this project", "")
    out = console()
    out.print(table)
    for problem in answer["problems"]:
        out.print(f"\n{problem['group'] or 'alerts'}: {problem['plugin']}: {problem['text']}", markup=False)
        if problem["help"]:
            out.print(f"  help: {problem['help']}", markup=False)


def _where(active: dict[str, dict[str, list[str]]]) -> dict[str, list[str]]:
    """Return by plugin the groups (and alerts) in which it implements a hook."""
    found: dict[str, list[str]] = {}
    for group, hooks in active.items():
        for name in dict.fromkeys(name for names in hooks.values() for name in names):
            if not name.startswith("handler "):
                found.setdefault(name, []).append(group)
    return found
