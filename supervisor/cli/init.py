"""``supervisor init``: write a working project."""

import re
from importlib.resources import files
from pathlib import Path

import click

from supervisor.cli.errors import CommandError
from supervisor.core.exits import ExitCode

PROJECT = re.compile(r"[a-z][a-z0-9_-]{0,30}")
"""What systemd takes as a unit's, useradd as a user's and the file system as a folder's name."""
KAFKA_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
SERVER = re.compile(r"[A-Za-z0-9._-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

TARGETS = {
    "supervisor.toml.in": "supervisor.toml",
    "handlers.py.in": "handlers.py",
    "plugins/policy.py.in": "plugins/policy.py",
    "tests/test_handlers.py.in": "tests/test_handlers.py",
    "pytest.ini.in": "pytest.ini",
    "service.in": "@PROJECT@.service",
    "README.md.in": "README.md",
}


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--group", default="orders", show_default=True, help="The Kafka consumer group.")
@click.option("--topic", default=None, help="The topic to read.  [default: the group's name]")
@click.option(
    "--bootstrap-servers", default="127.0.0.1:9092", show_default=True, help="Kafka's address, or several with commas."
)
def init(folder: Path, group: str, topic: str | None, bootstrap_servers: str) -> None:
    """Write a working project into DIR (default: here).

    \b
    Configuration, handler, a plugin, a test that runs without Kafka, a systemd unit, a README.
    Existing files are never overwritten: if one is in the way, nothing is written at all.

    \b
    Examples:
      supervisor init shop
      supervisor init shop --group billing --topic invoices --bootstrap-servers kafka-1:9092,kafka-2:9092

    \b
    Exit codes: 0 written, 1 a file is in the way, 2 a name is not valid.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    names = _names(folder, group, topic=topic or group, servers=bootstrap_servers)
    written = {folder / _filled(target, names): _filled(_template(source), names) for source, target in TARGETS.items()}
    taken = [str(path) for path in written if path.exists()]
    if taken:
        message = f"already there, nothing was written: {', '.join(taken)}\n  help: choose another folder"
        raise CommandError(message)
    try:
        for path, text in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x") as file:
                file.write(text)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise CommandError(message, code=ExitCode.FAILURE) from error
    for path in written:
        click.echo(f"wrote {path}")
    config = folder / "supervisor.toml"
    click.echo(
        f"\nnext:\n  edit {folder / 'handlers.py'}\n  supervisor -c {config} check\n  supervisor -c {config} run"
    )


def _names(folder: Path, group: str, *, topic: str, servers: str) -> dict[str, str]:
    project = folder.resolve().name.lower().replace(" ", "-").replace(".", "-")
    if not PROJECT.fullmatch(project):
        message = f"{folder}: the folder's name becomes the project's: a letter, then letters, digits, '-' and '_' only"
        raise click.BadParameter(message, param_hint="DIR")
    for option, name in (("--group", group), ("--topic", topic)):
        if not KAFKA_NAME.fullmatch(name):
            message = f"{name!r} is not a name Kafka takes: letters, digits, '.', '_' and '-' only, 249 at most"
            raise click.BadParameter(message, param_hint=option)
    for server in servers.split(","):
        if not SERVER.fullmatch(server):
            message = f"{server!r} is not an address: write host:port, several with commas between them"
            raise click.BadParameter(message, param_hint="--bootstrap-servers")
    return {
        "@PROJECT@": project,
        "@GROUP@": group,
        "@GROUP_KEY@": group if BARE_KEY.fullmatch(group) else f'"{group}"',
        "@TOPIC@": topic,
        "@BOOTSTRAP@": servers,
    }


def _template(name: str) -> str:
    return files("supervisor.cli").joinpath("project_files", name).read_text()


def _filled(text: str, names: dict[str, str]) -> str:
    for mark, name in names.items():
        text = text.replace(mark, name)
    return text
