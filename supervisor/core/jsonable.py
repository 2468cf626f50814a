"""Frozen dataclasses to JSON values and back, for what processes tell each other.

Not pydantic: a worker must not pay 100 ms of imports on its way back to work, and these values were
validated where they entered (``supervisor.config``).
"""

import types
import typing
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

T = TypeVar("T")


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
    kind: type = cls
    hints = _hints(kind)
    try:
        return cls(**{name: _value(hints[name], item) for name, item in data.items() if name in hints})
    except TypeError as error:
        message = f"{cls.__name__}: {error}"
        raise ValueError(message) from error


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(hint: Any, item: Any) -> Any:  # noqa: ANN401
    if item is None:
        return None
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = [arm for arm in get_args(hint) if arm is not type(None)]
        return _value(inner[0], item) if len(inner) == 1 else item
    if origin is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004 - tuple[X, ...]
            return tuple(_value(args[0], part) for part in item)
        return tuple(_value(arg, part) for arg, part in zip(args, item, strict=True))
    if origin is dict:
        return {key: _value(get_args(hint)[1], part) for key, part in item.items()}
    if isinstance(hint, type):
        if is_dataclass(hint):
            return from_json(hint, item)
        if issubclass(hint, Enum):
            return hint(item)
    return item
