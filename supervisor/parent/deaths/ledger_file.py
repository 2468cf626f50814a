"""The ledger's table, and how it is read and written: by the store's thread."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.core.cases import Case, Cause, Evidence
from supervisor.core.docket import Change, Key

FILE = "ledger.sqlite3"

MIGRATIONS = (
    """
    CREATE TABLE accused (
        grp TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        topic_id TEXT NOT NULL, deaths INTEGER NOT NULL, cause TEXT NOT NULL, convicted INTEGER NOT NULL,
        buried INTEGER NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL,
        status INTEGER NOT NULL, stack TEXT NOT NULL, log TEXT NOT NULL,
        PRIMARY KEY (grp, topic, partition, offset)
    ) WITHOUT ROWID
    """,
)
"""Keyed by the topic's name, for a death is known before anybody asked a broker for the topic's id; the id is filled
in by the next worker that meets the case, and one of another id is dropped."""

Row = tuple[Key, int, Case]


@dataclass(frozen=True, slots=True)
class Found:
    """What a ledger holds. ``odd`` are rows with something that is not known here, of which ``unread`` say nothing."""

    rows: list[Row]
    odd: int = 0
    unread: int = 0


def ledger_file(state_dir: Path) -> Path:
    """Return where the supervisor that keeps its state in ``state_dir`` has its ledger."""
    return state_dir / FILE


def read(connection: sqlite3.Connection) -> Found:
    """Read all cases; what another version wrote is taken as far as it makes sense, and stays in the file."""
    rows: list[Row] = []
    odd = unread = 0
    for values in connection.execute("SELECT * FROM accused"):
        try:
            row, is_known = _row(values)
        except (ValueError, TypeError, OverflowError):
            unread += 1
        else:
            rows.append(row)
            odd += not is_known
    return Found(rows, odd + unread, unread)


def write(changes: Sequence[Change], connection: sqlite3.Connection) -> None:
    """Write changes, in the transaction of the caller."""
    for key, offset, case in changes:
        if case is None:
            connection.execute(
                "DELETE FROM accused WHERE grp = ? AND topic = ? AND partition = ? AND offset = ?", (*key, offset)
            )
            continue
        evidence = case.evidence
        values = (case.topic_id, case.deaths, case.cause.value, case.convicted, case.buried)
        connection.execute(
            "INSERT OR REPLACE INTO accused VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, offset, *values, case.first_at, case.last_at, evidence.status, evidence.stack, evidence.log),
        )


def _row(values: Sequence[Any]) -> tuple[Row, bool]:
    """Return a row as a case, and whether its cause is not known here: it is a conviction all the same.

    SQLite keeps in any column what it was given: raises ``ValueError``, ``TypeError`` or ``OverflowError``.
    """
    group, topic, partition, offset, topic_id, deaths, cause, convicted, buried, first, last, *left = values
    status, stack, log = left
    is_known = cause in list(Cause)
    case = Case(
        deaths=int(deaths),
        cause=Cause(cause) if is_known else Cause.KILLED,
        convicted=bool(convicted),
        buried=bool(buried),
        first_at=float(first),
        last_at=float(last),
        topic_id=str(topic_id),
        evidence=Evidence(int(status), str(stack), str(log)),
    )
    return ((str(group), str(topic), int(partition)), int(offset), case), is_known
