"""Dead letters in SQLite files, as ``dlq_sqlite`` writes them: a row each of the table ``letters``."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from supervisor.core.dlq import Stored, stored
from supervisor.core.letter_lines import NO_LETTER, headers_of, partition_of, seconds_of, with_source
from supervisor.inspector.letter_source import MOST_BYTES, SourceError
from supervisor.inspector.noted_letters import NotedLetters

BUSY = 10.0
_COLUMNS = (
    "id, audit_id, topic, key, value, headers, source_topic, source_partition, source_offset, disposition, timestamp,"
    " written_at"
)


class TableLetters(NotedLetters):
    """A ``SingleSource`` over SQLite files, one after the other. A position is a row's ``id``: none gets it twice."""

    def __init__(self, paths: Sequence[Path], progress: Path) -> None:
        super().__init__(paths, progress)
        self._tables: dict[str, sqlite3.Connection] = {}
        self._keys: dict[str, str] = {}
        self._at: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    def open(self, *, pending: bool, meaning: str, one: str = "") -> None:
        """See ``Source``."""
        self._resume(pending=pending, meaning=meaning)
        for place, path, position in self._places(one):
            if not path.exists():
                continue
            self._open(path, place)
            if position is not None:
                self._at[place], self._ends[place] = position - 1, position
            (count,) = self._ask(place, "select count(*) from letters where id > ? and id <= ?", self._range(place))[0]
            self.total += count

    def read(self, most: int) -> list[Stored]:
        """See ``Source``."""
        for place in self._tables:
            query = f"select {_COLUMNS} from letters where id > ? and id <= ? order by id limit ?"  # noqa: S608 - constant
            while rows := self._ask(place, query, (*self._range(place), most)):
                self._at[place] = rows[-1][0]
                letters = [letter for row in rows if (letter := self._letter(place, row)) is not None]
                if letters:
                    return letters
        return []

    def delete(self, place: str, positions: set[int]) -> int:
        """See ``SingleSource``."""
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

    def _mark(self, letter: Stored) -> tuple[str, int]:
        return self._keys[letter.place], letter.position

    def _range(self, place: str) -> tuple[int, int]:
        return self._at[place], self._ends[place]

    def _ask(self, place: str, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            with contextlib.closing(self._tables[place].execute(query, values)) as found:
                return list(_bounded(found))
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
                partition=partition_of(partition),
                key=_bytes(key),
                value=_bytes(value),
                headers=headers_of(json.loads(str(headers))),
                written_at=seconds_of(written_at),
            )
            known = {"topic": source, "offset": offset}
            told = {"audit_id": audit_id, "source": known, "timestamp": timestamp, "disposition": disposition}
            return letter if letter.view.topic else with_source(letter, told)
        except NO_LETTER:
            self.unreadable += 1
            return None


def _bounded(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield rows until they hold ``MOST_BYTES``; the last one may be over it."""
    size = 0
    for row in rows:
        yield row
        size += sum(len(value) for value in row if isinstance(value, bytes | str))
        if size >= MOST_BYTES:
            return


def _bytes(value: object) -> bytes | None:
    return None if value is None else value if isinstance(value, bytes) else str(value).encode()


def _unreadable(place: str, error: sqlite3.Error) -> SourceError:
    return SourceError(f"{place}: {error}")
