"""One config file as it was written: where each key stands, and the problems found in it so far."""

from dataclasses import dataclass, field
from typing import Any

from supervisor.config.positions import locate
from supervisor.config.problems import KeyPath, Problem, key_text, shortened, value_text
from supervisor.config.references import masked

TABLES = frozenset({"retry", "dead_letters", "idempotency", "commit", "batch", "restart", "kafka"})
SHALLOWEST_VALUE = 2
"""A table is shown by its name: its content says nothing in one line. Elsewhere a table is a wrong value."""


@dataclass(slots=True)
class Source:
    """Collects problems against the text of one file. Values are shown as written there, secrets hidden."""

    file: str
    text: str
    written: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    references: dict[KeyPath, str] = field(default_factory=dict)
    _lines: dict[str, int] = field(default_factory=dict)
    _reported: set[KeyPath] = field(default_factory=set)

    def report(self, path: KeyPath, text: str, instead: str = "") -> None:
        """Add a problem; a second one of the same key is left out, as a rule it follows from the first."""
        if path not in self._reported:
            self._reported.add(path)
            self.problems.append(self._problem(path, text, instead))

    def warn(self, path: KeyPath, text: str, instead: str = "") -> None:
        """Add something that deserves a look and stops nothing."""
        self.warnings.append(self._problem(path, text, instead))

    def is_reported(self, path: KeyPath) -> bool:
        """Tell whether a key is known to be wrong: what follows from its value is not worth telling."""
        return path in self._reported

    def has(self, path: KeyPath) -> bool:
        """Tell whether the file itself has this key."""
        return self._found(path)[0]

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or of the nearest table around it; 0 when nothing of it is in the file."""
        if not self._lines:
            self._lines = locate(self.text)
        for length in range(len(path), 0, -1):
            line = self._lines.get(".".join(str(part) for part in path[:length]))
            if line:
                return line
        return 0

    def place(self, path: KeyPath) -> str:
        """Return file, line and key of what a setting comes from: its own table, unless only a shared one has it."""
        shared = [("defaults", *path[2:]), path[2:]] if path[0] == "groups" else []
        found = next((one for one in (path, *shared) if self.has(one)), path)
        return f"{self.file}:{self.line(found)} {key_text(found)}"

    def _problem(self, path: KeyPath, text: str, instead: str) -> Problem:
        there, value = self._found(path)
        if not there and isinstance(path[-1], int):
            return self._problem(path[:-1], text, instead)  # one string stood for the list
        is_table = len(path) < SHALLOWEST_VALUE or path[-1] in TABLES or path[:-1] == ("groups",)
        shown = "" if not there or (is_table and isinstance(value, dict)) else self._shown(value, path)
        return Problem(self.file, self.line(path), key_text(path), shown, text, instead)

    def _shown(self, value: object, path: KeyPath) -> str:
        return shortened(value_text(masked(value, path, self.references)))

    def _found(self, path: KeyPath) -> tuple[bool, Any]:
        value: Any = self.written
        for part in path:
            children = dict(enumerate(value)) if isinstance(value, list) else value
            if not isinstance(children, dict) or part not in children:
                return False, None
            value = children[part]
        return True, value
