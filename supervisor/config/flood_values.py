"""The types of values in a ``flood`` table: limits that may be switched off, and a rate."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from supervisor.config.limit_values import OFF
from supervisor.config.values import Timeout, duration_text, refuse

MANUAL = "manual"
MOST = 10_000
_RATE = re.compile(r"([1-9]\d*)/(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _off(value: object) -> object:
    return None if value == OFF else value


def _manual(value: object) -> object:
    return None if value == MANUAL else value


def _rate(value: str) -> str:
    match = _RATE.fullmatch(value)
    if value == OFF:
        return value
    if match is None:
        refuse("not a rate", 'write a number per second, minute or hour: "10/s", "100/m", "500/h"; or "off"')
    if int(match[1]) > MOST:
        refuse(f"more than {MOST}", 'write a smaller number, or "off"')
    return value


def rate_of(text: str) -> tuple[int, float]:
    """Return how many within how many seconds a rate means; (0, 1) when it is off."""
    match = _RATE.fullmatch(text)
    return (int(match[1]), _SECONDS[match[2]]) if match else (0, 1.0)


Ratio = Annotated[
    Annotated[float, Field(gt=0, le=1)] | None,
    BeforeValidator(_off),
    PlainSerializer(lambda value: OFF if value is None else value, return_type=float | str),
    WithJsonSchema({"anyOf": [{"const": OFF}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]}),
]
Rate = Annotated[str, AfterValidator(_rate), WithJsonSchema({"type": "string", "pattern": r"^(off|[1-9]\d*/[smh])$"})]
ResumeAfter = Annotated[
    Timeout | None,
    BeforeValidator(_manual),
    PlainSerializer(lambda value: MANUAL if value is None else duration_text(value), return_type=str),
    WithJsonSchema({"anyOf": [{"const": MANUAL}, {"type": "string", "pattern": r"^( *\d+(\.\d+)?(ms|s|m|h|d))+ *$"}]}),
]
