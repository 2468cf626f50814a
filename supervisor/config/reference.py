"""What the models say about every key: the JSON schema, the table of defaults, the tables of the docs."""

from collections.abc import Iterator, Mapping
from typing import Any

from supervisor.config.alerting import Alerting
from supervisor.config.kafka_keys import NOT_WITH_CONSUMER, OWNED, owned
from supervisor.config.models import Defaults, File, Group, Http, Supervisor
from supervisor.config.problems import value_text
from supervisor.config.tables import Table
from supervisor.config.translate import as_table, as_tables
from supervisor.core.metrics_catalog import CATALOG, PREFIX, Kind

Row = tuple[str, str, str]

REQUIRED = "required"
SECTIONS: tuple[tuple[str, type[Table]], ...] = (
    ("supervisor", Supervisor),
    ("http", Http),
    ("alerting", Alerting),
    ("groups.NAME", Group),
)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of ``supervisor.toml`` (draft 2020-12), for editors and other tools."""
    schema = File.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "supervisor.toml"}


def defaults_table() -> list[Row]:
    """Return every key of the file with its default as TOML would write it, and its meaning.

    A key that must be given has the default ``required``. Keys of ``[groups.NAME]`` stand in ``[defaults]``
    too, except for those of ``group_only_keys``. Keys of a list of tables stand behind its name and ``[]``.
    """
    return [row for prefix, model in SECTIONS for row in _rows(prefix, model)]


def group_only_keys() -> tuple[str, ...]:
    """Return the keys of a group that ``[defaults]`` does not take."""
    return tuple(name for name in Group.model_fields if name not in Defaults.model_fields)


def filled_in(text: str) -> str:
    """Return a page of the docs with its generated parts, between ``begin`` and ``end`` comments, made anew."""
    parts = {
        "keys": keys_markdown,
        "owned keys": owned_markdown,
        "consumer keys": consumer_markdown,
        "metrics": metrics_markdown,
    }
    for name, make in parts.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        if found:
            text = before + begin + make() + end + rest.partition(end)[2]
    return text


def keys_markdown() -> str:
    """Return one table of keys, defaults and meanings per TOML table."""
    by_table: dict[str, list[Row]] = {}
    for key, default, meaning in defaults_table():
        table, _, name = key.rpartition(".")
        is_value = default != REQUIRED and not default.startswith("the ") and "`" not in default
        by_table.setdefault(table, []).append((name, f"`{default}`" if is_value else default, meaning))
    parts = []
    for table, rows in by_table.items():
        heading = f"[[{table.removesuffix('[]')}]]" if table.endswith("[]") else f"[{table}]"
        lines = [f"### `{heading}`", "", "| key | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _rows(prefix: str, model: type[Table]) -> Iterator[Row]:
    inner = []
    required_first = sorted(model.model_fields.items(), key=lambda item: item[0] not in group_only_keys())
    for name, item in required_first:
        table = as_table(item.annotation)
        if table is not None:
            inner.append((name, table))
            continue
        tables = as_tables(item.annotation)
        if tables is not None:
            inner.append((f"{name}[]", tables))
        extra = item.json_schema_extra if isinstance(item.json_schema_extra, dict) else {}
        default = REQUIRED if item.is_required() else value_text(item.get_default(call_default_factory=True))
        yield f"{prefix}.{name}", str(extra.get("default_text", default)), item.description or ""
    for name, table in inner:
        yield from _rows(f"{prefix}.{name}", table)


def owned_markdown() -> str:
    """Return the table of librdkafka's keys that are refused in every group."""
    return _instead_table({**OWNED, "*_cb": owned("any_cb")})


def consumer_markdown() -> str:
    """Return the table of librdkafka's keys that are refused with ``protocol = "consumer"``."""
    return _instead_table(NOT_WITH_CONSUMER)


def metrics_markdown() -> str:
    """Return the table of the metrics' catalogue."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in CATALOG.values():
        name = (metric.series[0] if metric.kind is not Kind.HISTOGRAM else metric.family).removeprefix(PREFIX)
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {metric.kind.value} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def _instead_table(keys: Mapping[str, str]) -> str:
    lines = ["| key | instead |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{key}` | {instead} |" for key, instead in keys.items())]) + "\n"
