"""``supervisor init``: write a working project."""

import re
from importlib.resources import files
from pathlib import Path

import click

from supervisor.cli.errors import CommandError
from supervisor.cli.unit import DYNAMIC, PROJECT, Unit, installed_unit, project_unit, warnings
from supervisor.core.exits import ExitCode

KAFKA_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
SERVER = re.compile(r"[A-Za-z0-9._-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

TARGETS = {
    "supervisor.toml.in": "supervisor.toml",
    "handlers.py.in": "handlers.py",
    "plugins/policy.py.in": "plugins/policy.py",
    "tests/test_handlers.py.in": "tests/test_handlers.py",
    "pytest.ini.in": "pytest.ini",
    "README.md.in": "README.md",
}


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--group", default="orders", show_default=True, help="The Kafka consumer group.")
@click.option("--topic", default=None, help="The topic to read.  [default: the group's name]")
@click.option(
    "--bootstrap-servers", default="127.0.0.1:9092", show_default=True, help="Kafka's address, or several with commas."
)
@click.option("--systemd", "only_unit", is_flag=True, help="Write only the unit and its drop-in, for -c FILE.")
@click.option("--user", default="", help='With --systemd: whom it runs as, or "dynamic".  [default: the unit\'s name]')
@click.pass_obj
def init(  # noqa: PLR0913 - one per option
    config_path: Path,
    folder: Path,
    group: str,
    *,
    topic: str | None,
    bootstrap_servers: str,
    only_unit: bool,
    user: str,
) -> None:
    """Write a working project into DIR (default: here).

    \b
    Configuration, handler, a plugin, a test that runs without Kafka, a systemd unit, a README.
    Existing files are never overwritten: if one is in the way, nothing is written at all.

    \b
    With --systemd it writes into DIR only a unit that runs the configuration of -c with this installation,
    named after the configuration's folder, and a drop-in for groups that limit their workers.

    \b
    Examples:
      supervisor init shop
      supervisor init shop --group billing --topic invoices --bootstrap-servers kafka-1:9092,kafka-2:9092
      supervisor -c /etc/shop/supervisor.toml init --systemd /etc/systemd/system

    \b
    Exit codes: 0 written, 1 a file is in the way, 2 a name is not valid.
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if only_unit:
        _write_unit(folder, installed_unit(config_path, user))
        return
    if user:
        message = "--user goes with --systemd only"
        raise click.UsageError(message)
    names = _names(folder, group, topic=topic or group, servers=bootstrap_servers)
    written = {folder / _filled(target, names): _filled(_template(source), names) for source, target in TARGETS.items()}
    unit = project_unit(names["@PROJECT@"])
    written[folder / f"{unit.name}.service"] = unit.service()
    _write(written)
    config = folder / "supervisor.toml"
    click.echo(
        f"\nnext:\n  edit {folder / 'handlers.py'}\n  supervisor -c {config} check\n  supervisor -c {config} run"
    )


def _write_unit(folder: Path, unit: Unit) -> None:
    service = folder / f"{unit.name}.service"
    _write({service: unit.service(), folder / f"{unit.name}-limits.conf": unit.limits()})
    for warning in warnings(unit, service):
        click.echo(f"warning: {warning}", err=True)
    copy = [] if folder.resolve() == Path("/etc/systemd/system") else [f"cp {service} /etc/systemd/system/"]
    account = [] if unit.user == DYNAMIC else [f"useradd --system {unit.user}"]
    steps = [*account, *copy, f"systemctl daemon-reload && systemctl enable --now {unit.name}"]
    click.echo("\nnext:\n  " + "\n  ".join(steps))


def _write(written: dict[Path, str]) -> None:
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
