"""What is wrong with a config, told so that a person can act on it: where, what was found, what to write."""

import math
import re
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change. ``found`` is the value as the file has it, ready to be shown; ``line`` 0 means unknown."""

    file: str
    line: int
    key: str
    found: str
    text: str
    help: str = ""

    def render(self) -> str:
        """Return the problem as two or three indented lines."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.key} = {self.found}" if self.found else self.key
        lines = [f"  {where}  {what}".rstrip(), f"    {self.text}"]
        if self.help:
            lines.append(f"    help: {self.help}")
        return "\n".join(lines)


class ConfigError(Exception):
    """The config cannot be used; ``problems`` holds everything that is wrong with it, in the file's order."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = problems
        super().__init__(file, problems)

    def __str__(self) -> str:
        """Return all problems as text for a terminal."""
        count = len(self.problems)
        heading = f"{self.file}: {count} problem{'' if count == 1 else 's'}"
        return "\n".join([heading, *(problem.render() for problem in self.problems)])


def key_text(path: KeyPath) -> str:
    """Return a key path as TOML would write it: ``groups.orders.kafka."group.id"``, ``plugins[1]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + key_part(part)
    return text


def key_part(part: str) -> str:
    """Return one part of a key, quoted where TOML needs it."""
    return part if _BARE.fullmatch(part) else string_text(part)


def string_text(text: str) -> str:
    """Return ``text`` as a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for character, escape in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = escaped.replace(character, escape)
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'


def value_text(value: object) -> str:
    """Return ``value`` on one line as TOML would write it."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return str(value)
        case str():
            return string_text(value)
        case dict():
            inner = ", ".join(f"{key_part(str(key))} = {value_text(item)}" for key, item in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(value_text(item) for item in value)}]"
        case _:
            return str(value)


def shortened(text: str) -> str:
    """Return ``text`` cut to what fits a line of an error."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
