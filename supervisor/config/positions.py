"""On which line of a TOML text a key stands.

tomli says where a syntax error is and forgets the place of everything else. This scanner goes over text
that tomli has accepted already, so it only needs to tell strings, brackets and keys apart.
"""

import re

import tomli

_BARE_VALUE = re.compile(r"[^,\]}\n#]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


def locate(text: str) -> dict[str, int]:
    """Return the line (from 1) of every key of valid TOML, and of every item of a list: ``groups.orders.topics.0``.

    Parts are joined with dots whether quoted or not: librdkafka's keys have dots themselves.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[str, int] = {}
        self._counts: dict[tuple[str, ...], int] = {}
        """Of each array of tables: the index of its last one."""

    def scan(self) -> dict[str, int]:
        table: tuple[str, ...] = ()
        while self._peek():
            if self._text[self._at] == "[":
                brackets = 2 if self._text.startswith("[[", self._at) else 1
                self._at += brackets
                table = self._key()
                if brackets == 2:  # noqa: PLR2004 - as TOML writes them
                    index = self._counts[table] = self._counts.get(table, -1) + 1
                    table = (*table, str(index))
                self._note(table)
                self._peek()
                self._at += brackets
            else:
                self._pair(table)
        return self._lines

    def _peek(self) -> str:
        """Skip blanks, line ends and comments; return the next character, empty at the end."""
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _note(self, path: tuple[str, ...]) -> None:
        line = self._text.count("\n", 0, self._at) + 1
        for length in range(1, len(path) + 1):
            self._lines.setdefault(".".join(path[:length]), line)

    def _pair(self, table: tuple[str, ...]) -> None:
        self._peek()
        path = table + self._key()
        self._note(path)
        self._peek()
        self._at += 1  # the equals sign
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        parts = []
        while True:
            if self._peek() in {'"', "'"}:
                start = self._at
                self._string()
                parts.append(str(tomli.loads("k = " + self._text[start : self._at])["k"]))
            else:
                match = _BARE_KEY.match(self._text, self._at)
                parts.append(match[0] if match else "")
                self._at = match.end() if match else self._at + 1
            if self._peek() != ".":
                return tuple(parts)
            self._at += 1

    def _value(self, path: tuple[str, ...]) -> None:
        match self._peek():
            case '"' | "'":
                self._string()
            case "[":
                self._items(path, "]")
            case "{":
                self._items(path, "}")
            case _:
                match = _BARE_VALUE.match(self._text, self._at)
                self._at = match.end() if match else self._at + 1

    def _items(self, path: tuple[str, ...], closing: str) -> None:
        self._at += 1
        index = 0
        while self._peek() not in {closing, ""}:
            if closing == "}":
                self._pair(path)
            else:
                item = (*path, str(index))
                self._note(item)
                self._value(item)
                index += 1
            if self._peek() == ",":
                self._at += 1
        self._at += 1

    def _string(self) -> None:
        quote = self._text[self._at]
        triple = quote * 3
        closing = triple if self._text.startswith(triple, self._at) else quote
        self._at += len(closing)
        while not self._text.startswith(closing, self._at):
            if self._at >= len(self._text):
                return
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(closing)
        if closing == triple:
            # up to two quotes may stand directly before the closing three
            while self._text.startswith(quote, self._at):
                self._at += 1
