"""A tree of values as TOML text, for ``supervisor config show``."""

from collections.abc import Iterator
from typing import Any

from supervisor.config.problems import key_part, value_text


def toml_text(tree: dict[str, Any]) -> str:
    """Return ``tree`` as TOML, one ``[table]`` for each dictionary in it."""
    return "\n\n".join("\n".join(table) for table in _tables(tree, ())) + "\n"


def _tables(tree: dict[str, Any], path: tuple[str, ...]) -> Iterator[list[str]]:
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    if plain or not tree:
        heading = [f"[{'.'.join(key_part(part) for part in path)}]"] if path else []
        yield heading + [f"{key_part(key)} = {value_text(value)}" for key, value in plain.items()]
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _tables(value, (*path, key))
