import re
from typing import Any

from supervisor.config import defaults_table, json_schema
from supervisor.config.reference import REQUIRED, group_only_keys


def tables(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"": schema["properties"], **{name: table["properties"] for name, table in schema["$defs"].items()}}


def test_the_schema_explains_every_key() -> None:
    for table, keys in tables(json_schema()).items():
        for key, details in keys.items():
            assert details.get("description"), f"{table}.{key} has no description"


def test_the_schema_takes_what_the_loader_takes() -> None:
    found = tables(json_schema())

    assert re.search(found["Group"]["handler_timeout"]["pattern"], "1h30m")
    assert re.search(found["Group"]["queue_bytes"]["pattern"], "16MiB")
    assert found["Group"]["ordering"]["enum"] == ["partition", "key", "none"]
    assert [arm["type"] for arm in found["Group"]["topics"]["anyOf"]] == ["array", "string"]
    assert json_schema()["additionalProperties"] is False
    assert set(json_schema()["required"]) == {"groups"}


def test_the_table_of_defaults_has_every_key_once() -> None:
    rows = defaults_table()

    keys = [key for key, _, _ in rows]
    assert len(keys) == len(set(keys))
    assert ("groups.NAME.retry.initial", '"200ms"') in {(key, default) for key, default, _ in rows}
    assert ("groups.NAME.topics", REQUIRED) in {(key, default) for key, default, _ in rows}
    assert all(default and meaning.endswith(".") for _, default, meaning in rows)


def test_all_but_topics_and_handler_may_be_a_default() -> None:
    assert group_only_keys() == ("topics", "handler")
