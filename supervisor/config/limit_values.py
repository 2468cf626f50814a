"""The types of values in a ``limits`` table: what may be switched off, processors, rlimits."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from supervisor.config.values import Size, Timeout, duration_text, read_size, refuse, size_text
from supervisor.core.suggest import did_you_mean

OFF = "off"
UNLIMITED = "unlimited"
SPREAD = "spread"
RLIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")
"""The resources of setrlimit(2) that make sense for a worker, by the names of limits.conf(5)."""


def _off(value: object) -> object:
    return None if value == OFF else value


def _cpus(value: object) -> object:
    if isinstance(value, str) and value != SPREAD:
        refuse("neither processors nor a way to choose them", 'write their numbers, as in [0, 1], or "spread"')
    if not isinstance(value, list | tuple):
        return value
    if any(isinstance(cpu, bool) or not isinstance(cpu, int) or cpu < 0 for cpu in value):
        refuse("a processor has a number from 0", 'write their numbers, as in [0, 1], or "spread"')
    return tuple(value)


def _rlimits(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {name: _rlimit(name, amount) for name, amount in value.items()}


def _rlimit(name: str, amount: object) -> int:
    if name not in RLIMITS:
        refuse(f"no resource is called {name!r}", did_you_mean(name, RLIMITS).strip() or f"one of {', '.join(RLIMITS)}")
    if amount == UNLIMITED:
        return -1
    if isinstance(amount, str):
        return read_size(amount)
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
        refuse(f"{name} is no limit", 'write a number, a size such as "1GiB", or "unlimited"')
    return amount


def _rlimits_text(limits: dict[str, int]) -> dict[str, int | str]:
    return {name: UNLIMITED if amount < 0 else amount for name, amount in limits.items()}


def _schema(inner: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"const": OFF}, inner]})


OptionalSize = Annotated[
    Size | None,
    BeforeValidator(_off),
    PlainSerializer(lambda value: OFF if value is None else size_text(value), return_type=str),
    _schema({"type": "string", "pattern": r"^\d+(\.\d+)? ?(B|[kMG]B|[KMG]iB)$"}),
]
OptionalDuration = Annotated[
    Timeout | None,
    BeforeValidator(_off),
    PlainSerializer(lambda value: OFF if value is None else duration_text(value), return_type=str),
    _schema({"type": "string", "pattern": r"^( *\d+(\.\d+)?(ms|s|m|h|d))+ *$"}),
]
OptionalCount = Annotated[
    Annotated[int, Field(ge=1)] | None,
    BeforeValidator(_off),
    PlainSerializer(lambda value: OFF if value is None else value, return_type=int | str),
    _schema({"type": "integer", "minimum": 1}),
]
OptionalCores = Annotated[
    Annotated[float, Field(ge=0.01, le=1024)] | None,
    BeforeValidator(_off),
    PlainSerializer(lambda value: OFF if value is None else value, return_type=float | str),
    _schema({"type": "number", "minimum": 0.01}),
]
Cpus = Annotated[
    tuple[int, ...] | Literal["spread"],
    BeforeValidator(_cpus),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "integer", "minimum": 0}}, {"const": SPREAD}]}),
]
Rlimits = Annotated[
    dict[str, int],
    BeforeValidator(_rlimits),
    PlainSerializer(_rlimits_text, return_type=dict[str, int | str]),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: {"type": ["integer", "string"]} for name in RLIMITS},
            "additionalProperties": False,
        }
    ),
]
