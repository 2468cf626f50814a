"""What decoders do with the type that a handler's annotation names."""

import types
import typing
from dataclasses import is_dataclass


def refuse_models(model: object) -> None:
    """Raise ``ValueError`` for a class, or a type with one in it, that only a validating decoder makes."""
    if has_models(model):
        name = name_of(model)
        text = f'the handler takes Record[{name}], but this makes plain values; write decode = "pydantic" or "msgspec"'
        raise ValueError(text)


def has_models(kind: object) -> bool:
    """Tell whether a type is or holds what only a validating decoder makes."""
    return is_model(kind) or any(map(has_models, typing.get_args(kind)))


def is_model(model: object) -> bool:
    """Tell whether a type is a dataclass, a pydantic model or a msgspec struct."""
    is_made = hasattr(model, "model_validate") or hasattr(model, "__struct_fields__")
    return isinstance(model, type) and (is_made or is_dataclass(model))


def wanted(model: object) -> object:
    """Return the type that a validating decoder is to make; raise ``ValueError`` when the handler does not say."""
    if model is None:
        text = "the handler does not say what it takes; annotate it: def process(record: Record[Order])"
        raise ValueError(text)
    return model


def allows_none(model: object) -> bool:
    """Tell whether a tombstone may be ``None`` for the handler."""
    is_union = typing.get_origin(model) in (typing.Union, types.UnionType)
    return model in (None, typing.Any, object, types.NoneType) or (
        is_union and types.NoneType in typing.get_args(model)
    )


def refuse_tombstone(model: object) -> None:
    """Raise ``ValueError`` when the handler does not take the ``None`` that a tombstone is."""
    if not allows_none(model):
        text = f"a tombstone, and the handler takes no None: Record[{name_of(model)} | None] does"
        raise ValueError(text)


def name_of(model: object) -> str:
    """Return a type as its name is written."""
    return model.__name__ if isinstance(model, type) else str(model)
