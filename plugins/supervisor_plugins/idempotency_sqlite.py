"""Keys of worked records in an SQLite file, for the workers of one host."""

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.plugin import Claim, Seconds, WorkerContext, hookimpl

SCHEMA = """
create table if not exists keys (key text primary key, token text, until real not null) without rowid;
create index if not exists keys_until on keys (until);
"""
"""``token`` is null once the key is done; ``until`` (epoch) is when the row means nothing any more."""
CLAIM = """
insert into keys values (?1, ?2, ?3)
on conflict (key) do update set token = excluded.token, until = excluded.until
where keys.until <= ?4 or keys.token = excluded.token
"""
DONE = "insert into keys values (?1, null, ?2) on conflict (key) do update set token = null, until = excluded.until"
FORGET = "delete from keys where key in (select key from keys where until <= ? limit ?)"
FORGET_EACH = 10.0
FORGET_CLAIMS = 500
"""Rows that mean nothing any more are deleted after so many seconds or claims, twice as many as may have come since."""


class SqliteStore:
    """One file for all workers of the supervisor; each worker has one connection to it."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``path`` replaces ``<state_dir>/idempotency.sqlite``; ``timeout`` bounds the wait for other writers.

        ``synchronous = "normal"`` is faster and may forget what was done in the last moments before a power cut.
        """

        path: str = ""
        timeout: Seconds = 5.0
        synchronous: str = "full"

        def __post_init__(self) -> None:
            """Refuse what SQLite would ignore."""
            if self.synchronous not in {"full", "normal"}:
                text = "synchronous must be 'full' or 'normal'"
                raise ValueError(text)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._path = options.path
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._forgot_at = 0.0
        self._claims = 0

    @hookimpl
    def worker_started(self, context: WorkerContext) -> None:
        """Fix the file's name; it is opened with the first key."""
        self._path = self._path or str(Path(context.state_dir) / "idempotency.sqlite")

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    @hookimpl
    def claim(self, keys: Sequence[str], token: str, lease: float) -> list[Claim]:
        """Claim all of the keys in one transaction."""
        now = time.time()
        with _Transaction(self) as database:
            self._claims += len(keys)
            if self._claims >= FORGET_CLAIMS or not 0 <= now - self._forgot_at <= FORGET_EACH:
                database.execute(FORGET, (now, 2 * max(self._claims, FORGET_CLAIMS)))
                self._forgot_at, self._claims = now, 0
            return [_claim(database, key, token, until=now + lease, now=now) for key in keys]

    @hookimpl
    def done(self, keys: Sequence[str], ttl: float) -> None:
        """Remember the keys in one transaction."""
        until = time.time() + ttl
        with _Transaction(self) as database:
            database.executemany(DONE, [(key, until) for key in keys])

    @hookimpl
    def release(self, keys: Sequence[str], token: str) -> None:
        """Forget claims in one transaction."""
        with _Transaction(self) as database:
            database.executemany("delete from keys where key = ? and token = ?", [(key, token) for key in keys])

    def enter(self) -> sqlite3.Connection:
        """Begin to write: other threads and processes wait."""
        self._lock.acquire()
        try:
            if self._database is None:
                self._database = self._open()
            self._database.execute("begin immediate")
        except BaseException:
            self._close()
            self._lock.release()
            raise
        return self._database

    def leave(self, *, commit: bool) -> None:
        """End what ``enter`` began; after a failure the file is opened anew."""
        try:
            if self._database is not None:
                self._database.execute("commit" if commit else "rollback")
        except sqlite3.Error:
            self._close()
            raise
        finally:
            self._lock.release()

    def _open(self) -> sqlite3.Connection:
        Path(self._path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # a key may come out of a record
        timeout = self._options.timeout
        database = sqlite3.connect(self._path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            self._switch_to_wal(database)
            database.execute(f"pragma synchronous = {self._options.synchronous}")
            database.executescript(SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _switch_to_wal(self, database: sqlite3.Connection) -> None:
        """Have readers not wait for writers. SQLite itself does not wait for others that switch at the same moment."""
        deadline = time.monotonic() + self._options.timeout
        while True:
            try:
                database.execute("pragma journal_mode = wal")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


class _Transaction:
    """A transaction of the store's connection; nobody else uses that meanwhile."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def __enter__(self) -> sqlite3.Connection:
        """Begin it."""
        return self._store.enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Commit it, or roll it back."""
        self._store.leave(commit=kind is None)


def _claim(database: sqlite3.Connection, key: str, token: str, *, until: float, now: float) -> Claim:
    if database.execute(CLAIM, (key, token, until, now)).rowcount:
        return Claim.MINE
    (owner,) = database.execute("select token from keys where key = ?", (key,)).fetchone()
    return Claim.DONE if owner is None else Claim.BUSY
