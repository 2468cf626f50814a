"""Frozen dataclasses to JSON values and back, for what processes tell each other.

Not pydantic: a worker must not pay 100 ms of imports on its way back to work, and these values were
validated where they entered (``supervisor.config``).
"""

import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from typing import Any, TypeVar, Union, get_args, get_origin

T = TypeVar("T")
Convert = Callable[[Any], Any]


def to_json(value: Any) -> Any:  # noqa: ANN401 - a JSON value has no narrower type
    """Return ``value`` as JSON values: dataclasses become objects, tuples arrays, enums their values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(cls: type[T], data: Any) -> T:  # noqa: ANN401 - a JSON value has no narrower type
    """Build the dataclass ``cls`` from JSON values; members it does not know are left out.

    Raises ``ValueError`` when ``data`` is no object or a member without a default is missing: the
    other process speaks a version this one does not understand.
    """
    if not isinstance(data, dict):
        message = f"{cls.__name__}: expected an object, found {type(data).__name__}"
        raise ValueError(message)  # noqa: TRY004 - one error for every malformed frame
    members = _members(cls)
    try:
        return cls(**{name: _converted(members[name], item) for name, item in data.items() if name in members})
    except TypeError as error:
        message = f"{cls.__name__}: {error}"
        raise ValueError(message) from error


def _look(cls: type) -> dict[str, Convert | None]:
    """Return what is to be done with each member; looking at the hints once per value is most of the parent's work."""
    return {name: _converter(hint) for name, hint in typing.get_type_hints(cls).items()}


_members: Callable[[type], dict[str, Convert | None]] = cache(_look)


def _converted(convert: Convert | None, item: Any) -> Any:  # noqa: ANN401
    return item if convert is None or item is None else convert(item)


def _converter(hint: Any) -> Convert | None:  # noqa: ANN401
    """Return what makes a value of ``hint`` from JSON, ``None`` where JSON has it as it is."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = [arm for arm in get_args(hint) if arm is not type(None)]
        return _converter(inner[0]) if len(inner) == 1 else None
    if origin is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004 - tuple[X, ...]
            return partial(_all, _converter(args[0]))
        return partial(_each, tuple(_converter(arg) for arg in args))
    if origin is dict:
        return partial(_by_key, _converter(get_args(hint)[1]))
    if isinstance(hint, type):
        if is_dataclass(hint):
            return partial(from_json, hint)
        if issubclass(hint, Enum):
            return hint
    return None


def _all(convert: Convert | None, items: list[Any]) -> tuple[Any, ...]:
    return tuple(items) if convert is None else tuple(_converted(convert, item) for item in items)


def _each(converts: tuple[Convert | None, ...], items: list[Any]) -> tuple[Any, ...]:
    return tuple(_converted(convert, item) for convert, item in zip(converts, items, strict=True))


def _by_key(convert: Convert | None, items: dict[str, Any]) -> dict[str, Any]:
    return {key: _converted(convert, item) for key, item in items.items()}
