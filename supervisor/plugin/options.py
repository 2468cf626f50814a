"""Options of a plugin: a table of the config becomes an instance of the plugin's own ``Options`` class.

``Options`` is a dataclass or a pydantic model. Pydantic is never imported here: a worker pays for it
only when one of its plugins uses it. Problems name keys and types, never values (P10).
"""

import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from supervisor.core.durations import parse_duration
from supervisor.core.suggest import did_you_mean
from supervisor.plugin.errors import PluginError, Problem
from supervisor.plugin.importing import failure
from supervisor.plugin.types import Seconds

_WORDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "an array",
    tuple: "an array",
    dict: "a table",
}


class _WrongError(ValueError):
    """One value that does not fit, and the key path to it."""

    def __init__(self, path: str, text: str, help_: str = "") -> None:
        super().__init__(text)
        self.path = path
        self.help = help_


def build_options(plugin: str, cls: type, options: Mapping[str, Any]) -> object:
    """Return ``cls`` made from ``options``; raise ``PluginError`` with every problem found at the top level."""
    if hasattr(cls, "model_validate"):
        return _pydantic(plugin, cls, options)
    if not is_dataclass(cls):
        text = f"its Options class {cls.__qualname__!r} is neither a dataclass nor a pydantic model"
        raise PluginError(Problem(plugin, text, "put @dataclass above it"))
    try:
        return _dataclass(cls, options, "")
    except ExceptionGroup as group:
        problems = [
            Problem(plugin, _text(error), _help(plugin, error), _option(getattr(error, "path", "")))
            for error in group.exceptions
        ]
        raise PluginError(*problems) from None


def table_help(plugin: str) -> str:
    """Return where options of a plugin are written."""
    return f"options are the keys of [plugins.{plugin if plugin.isidentifier() else repr(plugin)}]"


def _option(path: str) -> str:
    """Return the key of a plugin's table that a path into its options begins with."""
    return re.split(r"[.[]", path, maxsplit=1)[0]


def _text(error: Exception) -> str:
    return f"option {error.path!r}: {error}" if isinstance(error, _WrongError) and error.path else f"options: {error}"


def _help(plugin: str, error: Exception) -> str:
    return (error.help if isinstance(error, _WrongError) else "") or table_help(plugin)


def _dataclass(cls: type[Any], options: Mapping[str, Any], path: str) -> object:
    """Make a dataclass; raises a group of ``_WrongError``."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError) as error:
        message = f"the types of {cls.__qualname__} cannot be read: {error}"
        raise _all([_WrongError(path, message)]) from error
    known = {f.name: f for f in fields(cls) if f.init}
    wrong: list[Exception] = [
        _WrongError(path + key, "is unknown", did_you_mean(key, known) + f"known: {', '.join(known) or 'none'}")
        for key in options
        if key not in known
    ]
    values: dict[str, Any] = {}
    for key, field in known.items():
        if key in options:
            try:
                values[key] = _convert(hints[key], options[key], path + key)
            except ExceptionGroup as group:
                wrong += group.exceptions
            except _WrongError as error:
                wrong.append(error)
        elif field.default is MISSING and field.default_factory is MISSING:
            wrong.append(_WrongError(path + key, "is missing"))
    if wrong:
        raise _all(wrong)
    try:
        made: object = cls(**values)
    except Exception as error:  # user code (__post_init__)
        text = str(error) if isinstance(error, ValueError) else failure(error)
        raise _all([_WrongError(path.rstrip("."), text)]) from error
    return made


def _all(wrong: Sequence[Exception]) -> ExceptionGroup[Exception]:
    return ExceptionGroup("options", wrong)


def _convert(hint: Any, value: Any, path: str) -> Any:  # noqa: ANN401 - whatever the config holds
    if hint == Seconds:
        return _seconds(value, path)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _convert(args[0], value, path)
    if origin in (typing.Union, types.UnionType):
        return _union(args, value, path)
    if origin is typing.Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        return _choice(hint, args, value, path)
    kind = origin or hint
    if is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(typing.cast("type[Any]", kind), value, f"{path}.")
    return _plain(kind, args, value, path)


def _plain(kind: Any, args: Sequence[Any], value: Any, path: str) -> Any:  # noqa: ANN401
    if kind is float and type(value) is int:
        return float(value)
    _check(kind, value, path)
    if kind is dict and args:
        return {key: _convert(args[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind in (list, tuple):
        return kind(_convert(args[0], item, f"{path}[{i}]") if args else item for i, item in enumerate(value))
    return value


def _check(kind: Any, value: Any, path: str) -> None:  # noqa: ANN401
    word = _WORDS.get(kind)
    expected = list if kind is tuple else kind
    if word and (not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool)):
        raise _WrongError(path, f"expected {word}, found {_word(value)}")
    if is_dataclass(kind):
        raise _WrongError(path, f"expected a table, found {_word(value)}")


def _seconds(value: Any, path: str) -> float:  # noqa: ANN401
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise _WrongError(path, str(error)) from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _WrongError(path, f"expected a duration such as '200ms' or a number of seconds, found {_word(value)}")


def _union(arms: Sequence[Any], value: Any, path: str) -> Any:  # noqa: ANN401
    failures = []
    for arm in arms:
        if arm is not types.NoneType:
            try:
                return _convert(arm, value, path)
            except _WrongError as error:
                failures.append(str(error))
    raise _WrongError(path, " or ".join(dict.fromkeys(failures)))


def _choice(hint: Any, choices: Sequence[Any], value: Any, path: str) -> Any:  # noqa: ANN401
    if choices:
        if value in choices:
            return value
    else:
        choices = [member.value for member in hint]
        if value in choices:
            return hint(value)
    help_ = did_you_mean(str(value), [str(choice) for choice in choices]).strip()
    raise _WrongError(path, f"not one of {', '.join(map(repr, choices))}", help_)


def _word(value: object) -> str:
    return next((word for kind, word in _WORDS.items() if type(value) is kind), type(value).__name__)


def _pydantic(plugin: str, cls: Any, options: Mapping[str, Any]) -> object:  # noqa: ANN401
    try:
        made: object = cls.model_validate(dict(options))
    except Exception as error:  # a model's validators are user code
        details = getattr(error, "errors", None)
        if not callable(details):
            raise PluginError(Problem(plugin, f"options: {failure(error)}", table_help(plugin))) from error
        # not str(error): that prints the values
        problems = [
            Problem(
                plugin,
                f"option {'.'.join(map(str, detail['loc']))!r}: {detail['msg']}",
                table_help(plugin),
                _option(".".join(map(str, detail["loc"]))),
            )
            for detail in details(include_input=False, include_url=False, include_context=False)
        ]
        raise PluginError(*problems) from None
    return made
