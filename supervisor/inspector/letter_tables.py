"""Dead letters in SQLite files, as ``dlq_sqlite`` writes them: a row each of the table ``letters``."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.core.dlq import Stored, stored
from supervisor.core.letter_lines import headers_of, with_source
from supervisor.inspector.letter_source import SourceError
from supervisor.inspector.replay_progress import Progress

BUSY = 10.0
MOST_AT_ONCE = 200
"""Rows that are read at once, whatever they weigh."""
_COLUMNS = (
    "id, audit_id, topic, key, value, headers, source_topic, source_partition, source_offset, disposition, timestamp,"
    " written_at"
)


class TableLetters:
    """A ``Source`` over SQLite files, one after the other. A position is a row's ``id``, which none gets twice."""

    def __init__(self, paths: Sequence[Path], progress: Path) -> None:
        self._paths = paths
        self._progress = Progress(progress)
        self._tables: dict[str, sqlite3.Connection] = {}
        self._keys: dict[str, str] = {}
        self._at: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self.total = self.unreadable = 0
        self.resumed = False
        self.other_meaning = ""

    def open(self, *, pending: bool, meaning: str, one: str = "") -> None:
        """See ``Source``."""
        if pending and self._progress.load():
            self.resumed = True
            self.other_meaning = self._progress.meaning if self._progress.meaning != meaning else ""
        self._progress.meaning = meaning
        name, _, position = one.rpartition("@")
        for path in self._paths:
            place = path.name if sum(other.name == path.name for other in self._paths) == 1 else str(path)
            if not path.exists() or (one and place != name):
                continue
            self._open(path, place)
            if one and position.isdecimal():
                self._at[place], self._ends[place] = int(position) - 1, int(position)
            (count,) = self._ask(place, "select count(*) from letters where id > ? and id <= ?", self._range(place))[0]
            self.total += count

    def read(self, most: int) -> list[Stored]:
        """See ``Source``."""
        for place in self._tables:
            query = f"select {_COLUMNS} from letters where id > ? and id <= ? order by id limit ?"  # noqa: S608 - constant
            while rows := self._ask(place, query, (*self._range(place), min(most, MOST_AT_ONCE))):
                self._at[place] = rows[-1][0]
                letters = [letter for row in rows if (letter := self._letter(place, row)) is not None]
                if letters:
                    return letters
        return []

    def is_again(self, letter: Stored) -> bool:
        """See ``Source``."""
        return letter.position <= self._progress.until.get(self._keys[letter.place], -1)

    def intend(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        for letter in letters:
            key = self._keys[letter.place]
            self._progress.until[key] = max(letter.position, self._progress.until.get(key, -1))
        self._save()

    def done(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        for letter in letters:
            key = self._keys[letter.place]
            self._progress.at[key] = letter.position
            if letter.position >= self._progress.until.get(key, -1):
                self._progress.until.pop(key, None)
        self._save()

    def forget(self) -> None:
        """See ``Source``."""
        self._progress.until.clear()
        self._progress.at.clear()

    def drop(self, upto: Mapping[str, int]) -> None:
        """See ``Source``; single rows can go, too: ``delete``."""
        raise NotImplementedError

    def delete(self, place: str, positions: set[int]) -> int:
        """Delete rows; return how many there were."""
        table = self._tables[place]
        gone = 0
        try:
            with table:
                table.execute("begin immediate")
                for position in positions:
                    gone += table.execute("delete from letters where id = ?", (position,)).rowcount
        except sqlite3.Error as error:
            raise _unreadable(place, error) from error
        return gone

    def close(self) -> None:
        """See ``Source``."""
        for table in self._tables.values():
            table.close()

    def _open(self, path: Path, place: str) -> None:
        try:
            table = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY, isolation_level=None)
        except sqlite3.Error as error:
            raise _unreadable(place, error) from error
        self._tables[place] = table
        # Its name alone may be another table's, too: one that was copied from another host, or from a backup.
        key = self._keys[place] = str(path.resolve())
        (end,) = self._ask(place, "select coalesce(max(seq), 0) from sqlite_sequence where name = ?", ("letters",))[0]
        at = self._progress.at.get(key, 0)
        # Fewer rows than were passed: another file of that name, so nothing of it was.
        self._at[place] = at if at <= end else 0
        if at > end:
            self._progress.until.pop(key, None)
        self._ends[place] = end

    def _range(self, place: str) -> tuple[int, int]:
        return self._at[place], self._ends[place]

    def _ask(self, place: str, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            with contextlib.closing(self._tables[place].execute(query, values)) as found:
                return found.fetchall()
        except sqlite3.Error as error:
            raise _unreadable(place, error) from error

    def _letter(self, place: str, row: Sequence[Any]) -> Stored | None:
        number, audit_id, topic, key, value, headers, source, partition, offset, disposition, timestamp, written_at = (
            row
        )
        try:
            letter = stored(
                place,
                int(number),
                int(number) + 1,
                topic=str(topic),
                partition=None if partition is None else int(partition),
                key=_bytes(key),
                value=_bytes(value),
                headers=headers_of(json.loads(str(headers))),
                written_at=None if written_at is None else float(written_at),
            )
            known = {"topic": source, "offset": offset}
            told = {"audit_id": audit_id, "source": known, "timestamp": timestamp, "disposition": disposition}
            return letter if letter.view.topic else with_source(letter, told)
        except (KeyError, TypeError, ValueError):
            self.unreadable += 1
            return None

    def _save(self) -> None:
        try:
            self._progress.save()
        except OSError as error:
            message = f"how far it is cannot be written: {error.strerror}"
            raise SourceError(message) from error


def _bytes(value: object) -> bytes | None:
    return None if value is None else value if isinstance(value, bytes) else str(value).encode()


def _unreadable(place: str, error: sqlite3.Error) -> SourceError:
    return SourceError(f"{place}: {error}")
