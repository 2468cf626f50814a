"""The journal's tables, and how they are read: by the store's thread, or by a command when no supervisor runs."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.control.answers import EventEntry, EventPage
from supervisor.core.event_query import EventQuery, severities
from supervisor.core.events import Event, Severity
from supervisor.core.jsonable import from_json, to_json
from supervisor.parent.store.store import migrate, refuse_newer, text, transaction

FILE = "journal.sqlite3"
BUSY = 2.0
UNREADABLE = "(what it said cannot be read: another version wrote it)"

MIGRATIONS = (
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, severity TEXT NOT NULL, name TEXT NOT NULL,
        grp TEXT NOT NULL, slot INTEGER, event TEXT NOT NULL, attachments TEXT
    );
    CREATE TABLE incarnations (
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, grp TEXT NOT NULL, slot INTEGER NOT NULL, pid INTEGER NOT NULL,
        incarnation INTEGER NOT NULL, mode TEXT NOT NULL, ended_at REAL, ended_seq INTEGER
    );
    CREATE INDEX open_incarnations ON incarnations (grp, slot) WHERE ended_at IS NULL
    """,
)
"""``seq`` of an incarnation is the number of its ``slot.started``, ``ended_seq`` that of its one ``worker.exited``."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """A process of a slot that the journal saw start and not end. ``seq`` is the number of its start."""

    seq: int
    at: float
    group: str
    slot: int
    pid: int
    incarnation: int
    mode: str


def journal_file(state_dir: Path | str) -> Path:
    """Return where the supervisor that keeps its state in ``state_dir`` has its journal."""
    return Path(state_dir) / FILE


def row(entry: EventEntry) -> tuple[Any, ...]:
    """Return an event as a row of the table ``events``; text that is no Unicode is escaped."""
    event = entry.event
    members = {name: value for name, value in to_json(event).items() if name != "attachments"}
    attachments = json.dumps(event.attachments) if event.attachments else None
    name, group = (text.encode(errors="backslashreplace").decode() for text in (event.name, event.group))
    return entry.seq, event.at, event.severity.value, name, group, event.slot, json.dumps(members), attachments


def read_page(connection: sqlite3.Connection, query: EventQuery) -> EventPage:
    """Return the events that ``query`` wants; of those that cannot be read, what the columns beside them say."""
    where, values = _where(query)
    order = "DESC" if query.since is None else "ASC"
    columns = "SELECT seq, at, severity, name, grp, slot, event, attachments FROM events"
    rows = connection.execute(
        f"{columns} WHERE {where} ORDER BY seq {order} LIMIT ?", (*values, query.limit)
    ).fetchall()
    rows.sort(key=lambda row: row[0])
    oldest, newest = connection.execute("SELECT min(seq), max(seq) FROM events").fetchone()
    dropped = 0 if query.since is None or oldest is None else max(0, oldest - 1 - query.since)
    return EventPage(tuple(map(_entry, rows)), dropped=dropped, newest=newest or 0)


def read_file(path: Path, query: EventQuery) -> EventPage:
    """Return what ``query`` wants from the journal in ``path``, read-only, beside a supervisor or without one.

    Blocks. Raises ``FileNotFoundError`` or ``sqlite3.Error``.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY)
    connection.text_factory = text
    with contextlib.closing(connection):
        return read_page(connection, query)


def append(path: Path, event: Event) -> None:
    """Write an event into the journal in ``path``, made if need be, while no supervisor runs: a command's own audit.

    Blocks until it is durable. Raises ``OSError`` or ``sqlite3.Error``.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as connection:
        refuse_newer(connection, MIGRATIONS)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, MIGRATIONS)
        with transaction(connection):
            (newest,) = connection.execute("SELECT max(seq) FROM events").fetchone()
            values = row(EventEntry((newest or 0) + 1, event))
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def open_incarnations(connection: sqlite3.Connection) -> list[Incarnation]:
    """Return the processes that nobody saw end; rows that make no sense are left where they are."""
    columns = "SELECT seq, at, grp, slot, pid, incarnation, mode FROM incarnations"
    found = []
    for seq, at, group, slot, pid, incarnation, mode in connection.execute(
        f"{columns} WHERE ended_at IS NULL ORDER BY seq"
    ):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            found.append(Incarnation(seq, float(at), str(group), int(slot), int(pid), int(incarnation), str(mode)))
    return found


def _where(query: EventQuery) -> tuple[str, list[Any]]:
    less = [severity.value for severity in Severity if severity not in severities(query.severity)]
    # Not "one of those that are wanted": a severity that a newer version brought would never be seen.
    parts, values = [f"severity NOT IN ({', '.join('?' * len(less))})"], list[Any](less)
    tests: Sequence[tuple[str, Any]] = (
        ("seq > ?", query.since),
        ("grp = ?", query.group),
        ("slot = ?", query.slot),
        ("at >= ?", query.after),
    )
    for test, value in tests:
        if value is not None:
            parts.append(test)
            values.append(value)
    return " AND ".join(parts), values


def _entry(found: tuple[Any, ...]) -> EventEntry:
    seq, at, severity, name, group, slot, members, attachments = found
    try:
        return EventEntry(seq, from_json(Event, json.loads(members) | {"attachments": json.loads(attachments or "{}")}))
    except (ValueError, TypeError):
        known = Severity(severity) if severity in list(Severity) else Severity.WARNING
        wall = at if isinstance(at, float) else 0.0
        return EventEntry(
            seq, Event(str(name), known, wall, str(group), slot if isinstance(slot, int) else None, UNREADABLE)
        )
