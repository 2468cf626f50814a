"""From a file to a ``Config``, or to everything that is wrong with it."""

import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli
from pydantic import ValidationError

from supervisor.config import checks
from supervisor.config.alerting import Alerting
from supervisor.config.config import Config
from supervisor.config.models import Defaults, File, Group, Http, Supervisor
from supervisor.config.paths import LONGEST_SOCKET, SOCKET, default_runtime_dir, default_state_dir
from supervisor.config.problems import ConfigError, KeyPath, Problem
from supervisor.config.references import Resolver
from supervisor.config.source import Source
from supervisor.config.tables import Table
from supervisor.config.translate import explain
from supervisor.config.values import KAFKA_NAME_LENGTH, kafka_name
from supervisor.core.autoscale import WorkerRange, most_workers
from supervisor.core.suggest import did_you_mean

T = TypeVar("T", bound=Table)
Tree = dict[str, Any]


def load(
    path: str | Path,
    *,
    environ: Mapping[str, str] | None = None,
    hostname: str | None = None,
    platform: str = sys.platform,
) -> Config:
    """Return the config in the file ``path``; raise ``ConfigError`` with every problem at once.

    Reads the file, the files it refers to and the environment (``environ``, ``hostname`` and ``platform`` stand in
    for the machine's own). Creates nothing, imports no plugin, talks to no network.
    """
    path, environ = Path(path), os.environ if environ is None else environ
    text = _read(path)
    written = _parse(path, text)
    real = path.resolve()
    source = Source(str(path), text, {})
    source.written = _shaped(source, written)
    resolver = Resolver(environ, real.parent, source.report, source.references)
    tree = resolver.resolve(source.written)
    settings = _place(
        source, real, _validate(source, Supervisor, tree["supervisor"], ("supervisor",)), environ, hostname
    )
    http = _validate(source, Http, tree["http"], ("http",))
    alerting = _validate(source, Alerting, tree["alerting"], ("alerting",))
    groups = _groups(source, tree)
    _check(source, tree, settings, groups)
    _check_start_method(source, settings, platform)
    if source.problems or settings is None or http is None or alerting is None:
        raise ConfigError(source.file, tuple(sorted(source.problems, key=lambda problem: problem.line)))
    plugins = real.parent / "plugins"
    return Config(
        path=real,
        supervisor=settings,
        alerting=alerting,
        kafka=tree["kafka"],
        groups=groups,
        plugins=tree["plugins"],
        search_path=(str(real.parent), *([str(plugins)] if plugins.is_dir() else [])),
        warnings=tuple(source.warnings),
        references=source.references,
        http=http,
        place=source.place,
    )


def control_socket(path: str | Path, *, environ: Mapping[str, str] | None = None) -> Path:
    """Return where the supervisor of the config in ``path`` listens; raise ``ConfigError``.

    Reads nothing but ``[supervisor]``: a running supervisor can be asked and stopped from a shell that does not
    have its secrets, and while the file is being edited.
    """
    return Path(_settings(path, environ).runtime_dir) / SOCKET


def state_dir(path: str | Path, *, environ: Mapping[str, str] | None = None) -> Path:
    """Return where the supervisor of the config in ``path`` keeps its state; reads and raises as ``control_socket``."""
    return Path(_settings(path, environ).state_dir)


def _settings(path: str | Path, environ: Mapping[str, str] | None) -> Supervisor:
    path, environ = Path(path), os.environ if environ is None else environ
    text = _read(path)
    table = _parse(path, text).get("supervisor", {})
    real = path.resolve()
    source = Source(str(path), text, {"supervisor": table})
    resolver = Resolver(environ, real.parent, source.report, source.references)
    resolved = resolver.resolve(_table(source, table, ("supervisor",)), ("supervisor",))
    settings = _place(source, real, _validate(source, Supervisor, resolved, ("supervisor",)), environ, None)
    if source.problems or settings is None:
        raise ConfigError(source.file, tuple(source.problems))
    return settings


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problem = Problem(
            str(path), 0, "", "", "there is no such file", "name one with --config, or run: supervisor init"
        )
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        problem = Problem(str(path), 0, "", "", f"cannot be read: {reason}", "check the path and who may read it")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem(str(path), line, "", "", "not UTF-8 text", "save the file as UTF-8")
    raise ConfigError(str(path), (problem,))


def _parse(path: Path, text: str) -> Tree:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        problem = Problem(place, 0, "", "", f"not valid TOML: {error.msg[:1].lower()}{error.msg[1:]}", _TOML_HELP)
        raise ConfigError(str(path), (problem,)) from None


_TOML_HELP = "strings stand in quotes, keys with dots too, tables are [like.this]"


def _shaped(source: Source, written: Tree) -> Tree:
    """Return the tree with all top-level tables there and librdkafka's keys flat; report what has another shape."""
    source.written = written
    tree = {name: _table(source, written.get(name, {}), (name,)) for name in File.model_fields}
    for name in written.keys() - tree.keys():
        guess = did_you_mean(name, tree).strip() or f"tables are {', '.join(f'[{known}]' for known in tree)}"
        source.report((name,), "no such table", guess)
    tree["kafka"] = _flat(tree["kafka"])
    tree["defaults"] = _with_flat_kafka(tree["defaults"])
    for parent in ("groups", "plugins"):
        tree[parent] = {name: _table(source, table, (parent, name)) for name, table in tree[parent].items()}
    tree["groups"] = {name: _with_flat_kafka(table) for name, table in tree["groups"].items()}
    return tree


def _table(source: Source, value: object, path: KeyPath) -> Tree:
    if isinstance(value, dict):
        return value
    source.report(path, "a table is wanted", f"write it as [{'.'.join(str(part) for part in path)}] with keys below")
    return {}


def _with_flat_kafka(table: Tree) -> Tree:
    kafka = table.get("kafka")
    return {**table, "kafka": _flat(kafka)} if isinstance(kafka, dict) else table


def _flat(table: Tree, prefix: str = "") -> Tree:
    """Return librdkafka's keys whole again where dots without quotes made tables of them."""
    flat: Tree = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def _validate(source: Source, model: type[T], value: Tree, path: KeyPath) -> T | None:
    """Return ``value`` as a model; report what is wrong with it and go on with what is right, for further checks."""
    try:
        return model.model_validate(value)
    except ValidationError as errors:
        details = errors.errors(include_url=False)
    for error in details:
        where = (*path, *error["loc"])
        shared = ("defaults", *error["loc"])
        if path[0] != "groups" or source.has(where) or not source.has(shared):
            source.report(where, *explain(error, model))
    right = _without(value, [error["loc"] for error in details])
    is_short = model is Group and "topics" not in right
    try:
        kept = model.model_validate({**right, "topics": ["-"]} if is_short else right)
    except ValidationError:
        return None
    return kept.model_copy(update={"topics": ()}) if is_short else kept


def _without(tree: Tree, paths: list[KeyPath]) -> Tree:
    """Return ``tree`` without the keys at ``paths``; a list with a wrong item goes as a whole."""
    kept = {}
    for key, value in tree.items():
        inner = [path[1:] for path in paths if path and path[0] == key]
        if isinstance(value, dict) and inner and all(inner):
            kept[key] = _without(value, inner)
        elif not inner:
            kept[key] = value
    return kept


def _place(
    source: Source, real: Path, settings: Supervisor | None, environ: Mapping[str, str], hostname: str | None
) -> Supervisor | None:
    """Return the settings with name and folders filled in."""
    if settings is None:
        return None
    name = settings.name or re.sub(r"[^A-Za-z0-9._-]+", "-", hostname or socket.gethostname()) or "supervisor"
    state = real.parent / (settings.state_dir or default_state_dir(environ))
    runtime = real.parent / (settings.runtime_dir or default_runtime_dir(environ, real, name))
    length = len(os.fsencode(runtime / SOCKET))
    if length > LONGEST_SOCKET:
        text = f"the control socket's path would have {length} bytes, a Unix socket takes {LONGEST_SOCKET}"
        source.report(("supervisor", "runtime_dir"), text, 'write a shorter folder: runtime_dir = "/run/orders"')
    folders = {"name": name, "state_dir": os.path.normpath(state), "runtime_dir": os.path.normpath(runtime)}
    return settings.model_copy(update=folders)


def _groups(source: Source, tree: Tree) -> dict[str, Group]:
    for name in ("topics", "handler"):
        if name in tree["defaults"]:
            source.report(("defaults", name), "not a default: each group has its own", "move it into [groups.NAME]")
    if not tree["groups"]:
        source.report(
            ("groups",), "no group is configured", 'add [groups.orders] with topics = ["orders"] and a handler'
        )
    shared = {key: value for key, value in tree["defaults"].items() if key not in {"topics", "handler"}}
    defaults = _validate(source, Defaults, shared, ("defaults",))
    if defaults is not None:
        checks.check_values(source, defaults, lambda *key: ("defaults", *key))
    groups = {}
    for name, own in tree["groups"].items():
        merged = _merged(shared, own)
        group = _validate(source, Group, merged, ("groups", name))
        if group is not None:
            groups[name] = group
            checks.check_group_values(source, name, group)
        checks.check_handler(source, name, merged)
    return groups


def _kafka_of(table: Tree) -> Tree:
    kafka = table.get("kafka")
    return kafka if isinstance(kafka, dict) else {}


def _merged(below: Tree, above: Tree) -> Tree:
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def _check(source: Source, tree: Tree, settings: Supervisor | None, groups: dict[str, Group]) -> None:
    tables: dict[KeyPath, Tree] = {("kafka",): tree["kafka"], ("defaults", "kafka"): _kafka_of(tree["defaults"])}
    tables |= {("groups", name, "kafka"): _kafka_of(table) for name, table in tree["groups"].items()}
    for path, table in tables.items():
        checks.check_kafka_table(source, table, path)
    if groups and not any(group.enabled for group in groups.values()):
        source.warn(("groups",), "every group is disabled: nothing will run", "set enabled = true in one of them")
    for name, group in groups.items():
        checks.check_group_kafka(source, name, group, {**tree["kafka"], **group.kafka})
        checks.check_patterns(source, name, group)
        checks.check_dead_letters(source, name, group)
        _check_ids(source, name, group, settings)
        _check_workers(source, name, group, settings)
    checks.check_retries(source, groups)
    if settings is not None:
        checks.check_plugins(source, groups, settings.alerts, tree["plugins"])
    if _others_may_read(source.file):
        tables |= {("plugins", name): options for name, options in tree["plugins"].items()}
        checks.warn_of_readable_secrets(source, tables)


def _check_ids(source: Source, name: str, group: Group, settings: Supervisor | None) -> None:
    try:
        kafka_name(name)
    except ValueError:
        source.report(("groups", name), "not a name for a group", "use letters, digits, '.', '_' and '-' only")
        return
    if settings is not None and len(f"{settings.name}-{name}-{most_workers(group.workers) - 1}") > KAFKA_NAME_LENGTH:
        text = f"member ids (supervisor.name, group, slot) would be longer than {KAFKA_NAME_LENGTH} characters"
        source.report(("groups", name), text, "shorten the group's name, or set a shorter supervisor.name")


def _check_workers(source: Source, name: str, group: Group, settings: Supervisor | None) -> None:
    if settings is not None and not settings.lag_interval and isinstance(group.workers, WorkerRange):
        text = "nobody asks for the lag that this range goes by: supervisor.lag_interval is 0s"
        source.report(("groups", name, "workers"), text, "write one number of workers, or a lag_interval")


def _check_start_method(source: Source, settings: Supervisor | None, platform: str) -> None:
    where = ("supervisor", "start_method")
    if settings is not None and settings.start_method == "fork" and platform != "linux" and source.has(where):
        text = f"forked workers need Linux (subreaper, pidfd), this is {platform}"
        source.report(where, text, 'write start_method = "exec", or leave it out: it is the default here')


def _others_may_read(file: str) -> bool:
    try:
        return bool(Path(file).stat().st_mode & 0o044)
    except OSError:
        return False
