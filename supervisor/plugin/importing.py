"""From ``module:attribute`` to the object, with errors that tell a wrong name from a module that is broken."""

import importlib
import logging
import sys
import traceback
from collections.abc import Iterable, Sequence
from itertools import takewhile
from types import ModuleType
from typing import Any

from supervisor.core.suggest import did_you_mean
from supervisor.plugin.errors import PluginError, Problem

logger = logging.getLogger(__name__)


def announce(step: str) -> None:
    """Say which user code runs next: nothing else can tell what ended a process, or kept it, without a word."""
    logger.debug("user_code.begins", extra={"fields": {"step": step}})


def extend_path(search_path: Sequence[str]) -> None:
    """Put folders in front of ``sys.path``, in their order; the ones already there stay where they are."""
    sys.path[:0] = [folder for folder in search_path if folder not in sys.path]


def import_module(plugin: str, name: str) -> ModuleType:
    """Import a module, running its top-level code; ``plugin`` is what errors name."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise PluginError(Problem(plugin, f"{name!r} is not a module's name", "write 'package.module:attribute'"))
    announce(f"importing {name!r}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise PluginError(_broken(plugin, name, error)) from error
        raise PluginError(_not_found(plugin, name, error.name)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code at import: even SystemExit must not end us unexplained
        raise PluginError(_broken(plugin, name, error)) from error


def import_object(plugin: str, target: str) -> Any:  # noqa: ANN401 - user objects have no type here
    """Return what ``package.module:attribute`` (attribute may be dotted) names."""
    name, _, path = target.partition(":")
    found: Any = import_module(plugin, name)
    seen = name
    for part in path.split(".") if path else ():
        try:
            found = getattr(found, part)
        except AttributeError:
            names = public_names(found)
            text = f"{seen!r} has no attribute {part!r}"
            raise PluginError(Problem(plugin, text, did_you_mean(part, names) + _listing("it has", names))) from None
        seen = f"{seen}{'.' if seen != name else ':'}{part}"
    return found


def exception_types(
    targets: Iterable[str], *, key: str = "retry.permanent", search_path: Sequence[str] = ()
) -> tuple[type[BaseException], ...]:
    """Return the exception classes that a setting names by ``module:Class``; raise ``PluginError``."""
    extend_path(search_path)
    types: list[type[BaseException]] = []
    problems: list[Problem] = []
    for target in targets:
        name = f"{key} {target!r}"
        try:
            found = import_object(name, target if ":" in target else f"builtins:{target}")
        except PluginError as error:
            problems += error.problems
            continue
        if isinstance(found, type) and issubclass(found, BaseException):
            types.append(found)
        else:
            problems.append(Problem(name, "is not an exception class", "write 'package.module:Class'"))
    if problems:
        raise PluginError(*problems)
    return tuple(types)


def public_names(found: object) -> list[str]:
    """Return the names that a person may have meant in a module, class or object."""
    names = [name for name in dir(found) if not name.startswith("_")]
    if isinstance(found, ModuleType):
        own = [name for name in names if getattr(vars(found).get(name), "__module__", None) == found.__name__]
        return own or names
    return names


def top_modules() -> set[str]:
    """Return the modules and packages that can be imported by one name, Python's own left out."""
    return _modules_in(None) - sys.stdlib_module_names


def _modules_in(path: Iterable[str] | None) -> set[str]:
    """Return the modules and packages of these folders, ``None``: of ``sys.path``."""
    from pkgutil import iter_modules  # noqa: PLC0415 - only when something is wrong: not on a worker's way to work

    return {info.name for info in iter_modules(path)}


def failure(error: BaseException) -> str:
    """Return an exception of user code as one line with the place it came from."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error) or 'no message'}{where}"


def _broken(plugin: str, name: str, error: BaseException) -> Problem:
    help_ = f"the module was found but fails when imported; try: {_alone(name)}"
    if isinstance(error, ModuleNotFoundError):
        help_ = f"the module was found, but what it imports is not: install {error.name!r} or correct the import"
    return Problem(plugin, f"importing {name!r} failed: {failure(error)}", help_)


def _alone(name: str) -> str:
    """Return the command that imports a module as we did: with the folders that stand before Python's own."""
    import shlex  # noqa: PLC0415 - only when something is wrong
    import sysconfig  # noqa: PLC0415 - same

    own = sysconfig.get_path("stdlib")
    ahead = takewhile(lambda folder: folder != own and not folder.endswith(".zip"), sys.path)
    path = ":".join(folder for folder in ahead if folder)
    return (f"PYTHONPATH={shlex.quote(path)} " if path else "") + f"python -c 'import {name}'"


def _not_found(plugin: str, name: str, missing: str) -> Problem:
    parent = missing.rpartition(".")[0]
    if parent:
        siblings = sorted(_modules_in(getattr(sys.modules.get(parent), "__path__", None) or []))
        last = missing.rpartition(".")[2]
        hint = did_you_mean(last, siblings) + _listing(f"modules of {parent!r}", siblings)
        if last == "py":
            hint = f"write the module's name, not its file's: {parent!r}"
    else:
        guess = did_you_mean(missing, top_modules())
        hint = f"{guess}install it, or put it beside the config file or in its plugins/ folder"
    whole = "" if missing == name else f" (of {name!r})"
    return Problem(plugin, f"there is no module {missing!r}{whole}", hint)


def _listing(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names) or 'nothing'}"
