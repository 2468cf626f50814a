"""pydantic's errors in the words of this project: what was found, and ``help`` that says what to write."""

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from supervisor.config.problems import KeyPath
from supervisor.config.tables import Table
from supervisor.core.suggest import did_you_mean

_KINDS = {
    "int": ("a whole number is wanted", "write it without quotes and without a point: 4"),
    "float": ("a number is wanted", "write it without quotes: 2.0"),
    "bool": ("true or false is wanted", "write true or false, without quotes"),
    "string": ("a string is wanted", 'write it in quotes: "..."'),
    "tuple": ("a list is wanted", 'write it in brackets: ["..."]'),
    "dict": ("a table is wanted", "write it as a table: [name] and its keys on the lines below"),
    "model": ("a table is wanted", "write it as a table: [name] and its keys on the lines below"),
}
_BOUNDS = {
    "greater_than_equal": ("ge", "less than {bound}", "write {bound} or more"),
    "less_than_equal": ("le", "more than {bound}", "write {bound} or less"),
}


def explain(error: ErrorDetails, model: type[Table]) -> tuple[str, str]:
    """Return the text and the help for one validation error of ``model``; never with the refused value in it.

    Names of unknown keys are repeated: they are no secrets.
    """
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "config":
            return str(context["text"]), str(context["help"])
        case "extra_forbidden":
            return "no such key", _known_instead(error["loc"], error["input"], model)
        case "missing":
            return "this key is needed", _NEEDED.get(str(error["loc"][-1]), "add it")
        case "literal_error":
            return _one_of(error["loc"], error["input"], model)
        case "too_short":
            return "an empty list", "write at least one"
        case _ if kind in _BOUNDS:
            name, text, instead = _BOUNDS[kind]
            return text.format(bound=context[name]), instead.format(bound=context[name])
        case _:
            return _KINDS.get(kind.removesuffix("_type").removesuffix("_attributes"), (error["msg"], ""))


_NEEDED = {
    "topics": 'say what to read: topics = ["orders"]',
    "error": 'say which failures it is for: error = "shop.errors:Busy"',
}


def _one_of(loc: KeyPath, found: object, model: type[Table]) -> tuple[str, str]:
    choices = get_args(_annotation(loc, model))
    text = "not one of " + ", ".join(f'"{choice}"' for choice in choices)
    guess = did_you_mean(found, choices) if isinstance(found, str) else ""
    return text, guess.replace("'", '"').strip() or f'write "{choices[0]}", for example'


def _known_instead(loc: KeyPath, found: object, model: type[Table]) -> str:
    name, table = str(loc[-1]), _model_at(loc[:-1], model)
    known = list(table.model_fields)
    guess = did_you_mean(name, known).strip()
    if guess:
        return guess
    librdkafka = "keys of librdkafka go into a kafka table: [kafka], or [groups.NAME.kafka]"
    if "." in name:
        return librdkafka
    elsewhere = [path for path in key_names(model) if path.rsplit(".", 1)[-1] == name]
    if elsewhere:
        return f"did you mean {elsewhere[0]!r}?"
    return f"known here: {', '.join(sorted(known))}" + (f"; {librdkafka}" if isinstance(found, dict) else "")


def key_names(model: type[Table], prefix: str = "") -> Iterator[str]:
    """Yield every key of a model and of the tables in it, with dots."""
    for name, item in model.model_fields.items():
        yield prefix + name
        inner = as_table(item.annotation) or as_tables(item.annotation)
        if inner is not None:
            yield from key_names(inner, f"{prefix}{name}.")


def as_table(annotation: Any) -> type[Table] | None:  # noqa: ANN401 - what annotations are
    """Return the model an annotation stands for, ``None`` when it is a plain value."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None  # type: ignore[return-value]


def as_tables(annotation: Any) -> type[Table] | None:  # noqa: ANN401 - what annotations are
    """Return the model of which an annotation takes a list, ``None`` when it takes none."""
    arguments = get_args(annotation)
    return as_table(arguments[0]) if get_origin(annotation) is tuple and arguments else None


def _model_at(loc: KeyPath, model: type[Table]) -> type[Table]:
    for part in loc:
        if isinstance(part, int):
            continue
        item = model.model_fields.get(str(part))
        inner = as_table(item.annotation) or as_tables(item.annotation) if item else None
        if inner is None:
            return model
        model = inner
    return model


def _annotation(loc: KeyPath, model: type[Table]) -> Any:  # noqa: ANN401 - what annotations are
    annotation = _model_at(loc[:-1], model).model_fields[str(loc[-1])].annotation
    if get_origin(annotation) in {Union, types.UnionType}:
        return next(arm for arm in get_args(annotation) if arm is not type(None))
    return annotation
