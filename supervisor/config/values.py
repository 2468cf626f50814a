"""The types of values in ``supervisor.toml``: what a person may write, and what the code gets.

No message here repeats the value it refuses: the value may have come from a secret. The file's own
text is shown instead, by whoever reports the problem.
"""

import re
import warnings
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from supervisor.core.addresses import parse_address
from supervisor.core.autoscale import WorkerRange
from supervisor.core.durations import parse_duration

LONGEST = 366 * 86400.0
KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]+")
"""What Kafka allows in topic names and static member ids (249 characters at most)."""
KAFKA_NAME_LENGTH = 249
MOST_WORKERS = 1024
DECODERS = ("text", "json", "msgspec", "pydantic", "avro", "protobuf", "json-schema")
"""Short names of the decoders that come with us."""

_SIZES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|[kMG]B|[KMG]iB)")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PLUGIN = re.compile(r"[\w.-]+(?::[A-Za-z_][\w.]*)?")


def refuse(text: str, instead: str) -> NoReturn:
    """Raise the error of a validator: ``text`` says what is wrong, ``instead`` what to write."""
    kind = "config"
    raise PydanticCustomError(kind, "{text}", {"text": text, "help": instead})


def duration_text(seconds: float) -> str:
    """Return ``seconds`` as the file would have it, exactly: ``"5m"``, ``"1500ms"``."""
    milliseconds = round(seconds * 1000, 6)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{int(milliseconds // size)}{unit}"
    return f"{milliseconds:.6f}".rstrip("0").rstrip(".") + "ms" if milliseconds else "0s"


def size_text(count: int) -> str:
    """Return a number of bytes as the file would have it, exactly: ``"16MiB"``."""
    for unit in ("GiB", "MiB", "KiB", "GB", "MB", "kB"):
        if count and count % _SIZES[unit] == 0:
            return f"{count // _SIZES[unit]}{unit}"
    return f"{count}B"


def is_pattern(topic: str) -> bool:
    """Tell whether a subscription is a pattern (librdkafka's rule: it begins with ``^``)."""
    return topic.startswith("^")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return a topic pattern as Python reads it: near enough to POSIX and RE2/J for the checks we make."""
    with warnings.catch_warnings():
        # POSIX classes such as [[:alpha:]] are fine for Kafka and only look odd to Python.
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        refuse("not a duration", 'write a number with a unit in quotes: "200ms", "30s", "5m", "1h30m"')
    if not isinstance(value, str):
        refuse("a duration needs a unit", f'write "{value:g}s" for seconds, "{value:g}ms" for milliseconds')
    try:
        seconds = parse_duration(value)
    except ValueError:
        refuse("not a duration", 'write a number with a unit: "200ms", "30s", "5m", "1h30m"')
    if seconds > LONGEST:
        refuse("longer than a year", "write a shorter time")
    return seconds


def _above_zero(value: float) -> float:
    if value <= 0:
        refuse("must be longer than nothing", 'write a time above zero, such as "1s"')
    return value


def read_size(value: object) -> int:
    """Return the bytes that a size means; raise ``PydanticCustomError`` when it is none."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        refuse("not a size", 'write a number with a unit in quotes: "512KiB", "16MiB", "1GB"')
    return int(float(match[1]) * _SIZES[match[2]])


def as_list(value: object) -> object:
    """Return what TOML read as a list as our models want it; refuse a single string."""
    if isinstance(value, str):
        refuse("a list is wanted, this is one string", 'write it in brackets: ["..."]')
    return tuple(value) if isinstance(value, list) else value


def _topics(value: object) -> object:
    if isinstance(value, str):
        if not is_pattern(value):
            refuse("one string is a pattern and begins with ^", 'write names as a list: topics = ["orders"]')
        return (value,)
    return as_list(value)


def _topic(value: str) -> str:
    if is_pattern(value):
        if re.search(r"\(\?[=!<]", value):
            refuse(
                "Kafka's patterns know no look-ahead and no look-behind",
                "write a pattern that says what to read; keep the dead letters out by their name",
            )
        try:
            compile_pattern(value)
        except re.error as error:
            refuse(
                f"not a regular expression: {error.msg}",
                'write one such as "^orders\\\\..*" (backslashes doubled, or in single quotes)',
            )
        return value
    return kafka_name(value)


def kafka_name(value: str) -> str:
    """Return ``value`` if Kafka takes it as a name; raise ``PydanticCustomError`` if not."""
    if not KAFKA_NAME.fullmatch(value) or value in {".", ".."}:
        refuse("not a name Kafka takes", "use letters, digits, '.', '_' and '-' only")
    if len(value) > KAFKA_NAME_LENGTH:
        refuse(f"longer than {KAFKA_NAME_LENGTH} characters", "shorten it")
    return value


def _reference(value: str) -> str:
    if value and not _REFERENCE.fullmatch(value):
        refuse("not of the form module:attribute", 'write it as you would import it: "shop.orders:process"')
    return value


def _exception(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        refuse("not of the form module:Class", 'write "shop.errors:Invalid", or "builtins:ValueError"')
    return value


def _record_key(value: str) -> str:
    if value != "offset" and not re.fullmatch(r"header:.+", value) and not _REFERENCE.fullmatch(value):
        refuse("not what a key may be made of", 'write "offset", "header:order-id", or "shop.keys:key_of"')
    return value


def _module(value: str) -> str:
    if not _MODULE.fullmatch(value):
        refuse("not the name of a module", 'write it as you would import it: "shop.models"')
    return value


def _listen(value: str) -> str:
    try:
        parse_address(value)
    except ValueError:
        refuse("not an address and a port", 'write "127.0.0.1:9464", "[::1]:9464", or "" for none')
    return value


def _plugin(value: str) -> str:
    if not _PLUGIN.fullmatch(value):
        refuse(
            "not the name of a plugin",
            'write an installed name ("dlq_file"), a module of plugins/, or "module:attribute"',
        )
    return value


def decoder_plugin(value: str) -> str:
    """Return the plugin that ``decode`` means: one of ours by its short name, or any other; none for ``bytes``."""
    if value == "bytes":
        return ""
    return f"decode_{value.replace('-', '_')}" if value in DECODERS else value


def _template(value: str) -> str:
    rest = value.replace("{topic}", "")
    if "{" in rest or "}" in rest:
        refuse("the only placeholder is {topic}", 'write "{topic}.dlq", or one topic\'s name')
    kafka_name(value.replace("{topic}", "t"))
    return value


def _retry_template(value: str) -> str:
    if "{topic}" not in value or "{delay}" not in value:
        refuse("{topic} and {delay} tell retry topics apart", 'write both: "{topic}.retry.{delay}"')
    rest = value.replace("{topic}", "t").replace("{delay}", "d").replace("{group}", "g")
    if "{" in rest or "}" in rest:
        refuse("placeholders are {topic}, {delay} and {group}", 'write "{topic}.{group}.retry.{delay}"')
    kafka_name(rest)
    return value


def _workers(value: object) -> int | WorkerRange:
    if isinstance(value, WorkerRange):
        return value
    if isinstance(value, dict):
        return _worker_range(value)
    return _number_of_workers(value, "write it without quotes and without a point: 4")


def _number_of_workers(value: object, instead: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        refuse("a whole number is wanted", instead)
    if value < 1:
        refuse("a group needs at least 1 worker", "remove the group, or set enabled = false")
    if value > MOST_WORKERS:
        refuse(f"more than {MOST_WORKERS}", f"write {MOST_WORKERS} or less")
    return value


def _worker_range(value: dict[str, object]) -> WorkerRange:
    instead = "write workers = { min = 1, max = 8, target_lag = 10000 }, or one number: workers = 4"
    if not {"min", "max", "target_lag"} <= set(value) <= {"min", "max", "target_lag", *_RANGE_TIMES}:
        text = f"a range of workers has the keys min, max and target_lag, and may have {', '.join(_RANGE_TIMES)}"
        refuse(text, instead)
    least, most = (_number_of_workers(value[key], instead) for key in ("min", "max"))
    target = value["target_lag"]
    if not isinstance(target, int) or isinstance(target, bool) or target < 1:
        refuse("target_lag is a number of records, 1 or more", instead)
    if most < least:
        refuse("max is less than min", instead)
    return WorkerRange(least, most, target, **{name: _seconds(value[name]) for name in _RANGE_TIMES if name in value})


def _workers_text(value: int | WorkerRange) -> int | dict[str, int | str]:
    if isinstance(value, int):
        return value
    written = {name: getattr(value, name) for name in _RANGE_TIMES}
    times = {name: duration_text(seconds) for name, seconds in written.items() if seconds is not None}
    return {"min": value.min, "max": value.max, "target_lag": value.target_lag, **times}


_DURATION_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^( *\d+(\.\d+)?(ms|s|m|h|d))+ *$"}
_SIZE_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^\d+(\.\d+)? ?(B|[kMG]B|[KMG]iB)$"}
_NAMES_SCHEMA: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_WORKERS: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}
_RANGE_TIMES = ("cooldown", "grow_every", "stuck_after")
_WORKERS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        _WORKERS,
        {
            "type": "object",
            "properties": {
                "min": _WORKERS,
                "max": _WORKERS,
                "target_lag": {"type": "integer", "minimum": 1},
                **dict.fromkeys(_RANGE_TIMES, _DURATION_SCHEMA),
            },
            "required": ["min", "max", "target_lag"],
            "additionalProperties": False,
        },
    ]
}
_OWN_KEYS: dict[str, Any] = {
    "type": ["string", "integer", "number", "boolean", "object"]
}  # objects: keys without quotes

Duration = Annotated[
    float, BeforeValidator(_seconds), PlainSerializer(duration_text, return_type=str), WithJsonSchema(_DURATION_SCHEMA)
]
Timeout = Annotated[Duration, AfterValidator(_above_zero)]
Size = Annotated[
    int,
    BeforeValidator(read_size),
    Field(ge=1024),
    PlainSerializer(size_text, return_type=str),
    WithJsonSchema(_SIZE_SCHEMA),
]
Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=1, le=100)]
Plugin = Annotated[str, AfterValidator(_plugin)]
Name = Annotated[str, AfterValidator(lambda value: value and kafka_name(value))]
OptionalPlugin = Annotated[str, AfterValidator(lambda value: value and _plugin(value))]
Listen = Annotated[str, AfterValidator(lambda value: value and _listen(value))]
Plugins = Annotated[tuple[Plugin, ...], BeforeValidator(as_list), WithJsonSchema(_NAMES_SCHEMA)]
ExceptionClass = Annotated[str, AfterValidator(_exception)]
Exceptions = Annotated[tuple[ExceptionClass, ...], BeforeValidator(as_list), WithJsonSchema(_NAMES_SCHEMA)]
Modules = Annotated[
    tuple[Annotated[str, AfterValidator(_module)], ...], BeforeValidator(as_list), WithJsonSchema(_NAMES_SCHEMA)
]
Topics = Annotated[
    tuple[Annotated[str, AfterValidator(_topic)], ...],
    BeforeValidator(_topics),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{**_NAMES_SCHEMA, "minItems": 1}, {"type": "string", "pattern": r"^\^"}]}),
]
Handler = Annotated[str, AfterValidator(_reference)]
RecordKey = Annotated[str, AfterValidator(_record_key)]
Delays = Annotated[
    tuple[Timeout, ...], BeforeValidator(as_list), WithJsonSchema({"type": "array", "items": _DURATION_SCHEMA})
]
RetryTemplate = Annotated[str, AfterValidator(_retry_template)]
TopicTemplate = Annotated[str, AfterValidator(_template)]
Workers = Annotated[
    int | WorkerRange, PlainValidator(_workers), PlainSerializer(_workers_text), WithJsonSchema(_WORKERS_SCHEMA)
]
KafkaTable = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": _OWN_KEYS})]
