"""Dead letters to an SQLite file of this host, where they can be queried.

``<state_dir>/dead-letters/<group>/letters.sqlite``, mode 0600, one for all workers of a group: a row of ``letters`` is
one letter, with what ``dlq_file`` writes. Whoever reads or deletes rows does so in transactions of its own.
"""

import json
import os
import sqlite3
import threading
import time
from base64 import b64encode
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from supervisor.plugin import Letter, WorkerContext, hookimpl
from supervisor_plugins.letter_folder import letter_folder, make_folder, sync_names

FORMAT = 1
FILE_NAME = "letters.sqlite"
BUSY_PATIENCE = 5.0
TABLE = """
create table if not exists letters (
    id integer primary key autoincrement,
    audit_id text not null,
    topic text not null,
    key blob,
    value blob,
    headers text not null,
    source_topic text not null,
    source_partition integer not null,
    source_offset integer not null,
    disposition text not null,
    timestamp real,
    written_at real not null,
    slot integer not null
)
"""
INDEX = "create index if not exists letters_audit_id on letters (audit_id)"
# A copy of a letter is not kept twice. The same audit id may be another record's, of a topic that was made anew.
INSERT = """
insert into letters (audit_id, topic, key, value, headers, source_topic, source_partition, source_offset, disposition,
    timestamp, written_at, slot)
select :audit_id, :topic, :key, :value, :headers, :source_topic, :source_partition, :source_offset, :disposition,
    :timestamp, :written_at, :slot
where not exists (select 1 from letters
    where audit_id = :audit_id and timestamp is :timestamp and key is :key and value is :value)
"""


class SqliteSink:
    """Insert each letter and return when the disk has it."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``directory`` replaces ``<state_dir>/dead-letters``."""

        directory: str = ""

    def __init__(self, options: Options) -> None:
        self._directory = options.directory
        self._path: Path | None = None
        self._slot = 0
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    @hookimpl
    def worker_started(self, context: WorkerContext) -> None:
        """Fix the file's name; it is made with the first letter."""
        self._path = letter_folder(context, self._directory) / FILE_NAME
        self._slot = context.slot

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> None:
        """Insert and commit one row; handler threads take turns. After any failure the file is opened anew."""
        with self._lock:
            try:
                if self._database is None or not self._named().exists():
                    self._close()
                    self._database = _opened(self._named())
                with self._database:
                    self._database.execute(INSERT, self._row(letter))
            except (OSError, sqlite3.Error):
                self._close()
                raise

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _named(self) -> Path:
        if self._path is None:
            message = "dlq_sqlite was asked for a letter before the worker had started"
            raise RuntimeError(message)
        return self._path

    def _row(self, letter: Letter) -> dict[str, object]:
        headers = [
            [name, None if value is None else b64encode(value).decode("ascii")] for name, value in letter.headers
        ]
        return {
            "audit_id": letter.audit_id,
            "topic": letter.topic,
            "key": letter.key,
            "value": letter.value,
            "headers": json.dumps(headers, separators=(",", ":")),
            "source_topic": letter.source_topic,
            "source_partition": letter.source_partition,
            "source_offset": letter.source_offset,
            "disposition": letter.disposition.value,
            "timestamp": letter.timestamp,
            "written_at": time.time(),
            "slot": self._slot,
        }

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


def _opened(path: Path) -> sqlite3.Connection:
    make_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would make it by the umask
    database = sqlite3.connect(path, timeout=BUSY_PATIENCE, check_same_thread=False, isolation_level="IMMEDIATE")
    try:
        with closing(database.execute("pragma journal_mode = wal")):
            pass
        database.execute("pragma synchronous = full")
        with database:
            database.execute(TABLE)
            database.execute(INDEX)
            database.execute(f"pragma user_version = {FORMAT}")
    except sqlite3.Error:
        database.close()
        raise
    sync_names(path.parent)
    return database
