"""One SQLite file of the parent, written and read by one thread; the loop only queues and never waits for a disk."""

import asyncio
import contextlib
import logging
import os
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

QUEUE = 10_000
QUEUE_BYTES = 16 << 20
BATCH = 500
BUSY = 1.0
RETRY = 5.0
UPKEEP = 60.0
READS = 64
"""Questions that may wait at once; the control API asks one per request."""
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

logger = logging.getLogger(__name__)

Write = Callable[[sqlite3.Connection], None]
Read = Callable[[sqlite3.Connection], Any]


class StoreUnavailableError(Exception):
    """The file cannot be read now; the text says why."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What changed between the store and its file.

    ``error`` is empty when writing works (again). ``dropped`` counts writes that were refused since the last
    word. ``moved_to`` is where a corrupt file went.
    """

    error: str = ""
    dropped: int = 0
    moved_to: str = ""


class Store:
    """The thread, its bounded queue, the connection and the schema.

    ``migrations[n]`` is the SQL that takes version ``n`` of the schema to ``n + 1``; ``PRAGMA user_version`` says
    which the file has. A file that cannot be written (disk full, read-only) is tried again each ``retry`` seconds,
    what is queued waits; when the queue is full the newest writes are refused and counted: what began a disaster is
    worth more than its echo. A corrupt file is moved aside and begun anew. ``on_trouble`` is called in the loop.
    ``pragmas`` say how safe a commit is: against a crash of ours, or (``synchronous = FULL``) of the machine, too.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        *,
        on_trouble: Callable[[Trouble], None],
        upkeep: Write | None = None,
        retry: float = RETRY,
        pragmas: Sequence[str] = ("PRAGMA synchronous = NORMAL",),
    ) -> None:
        self.path = path
        self.dropped = 0
        self._migrations = migrations
        self._on_trouble = on_trouble
        self._upkeep = upkeep
        self._retry = retry
        self._pragmas = pragmas
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._writes: deque[tuple[Write, int]] = deque()
        self._bytes = 0
        self._reads: deque[tuple[int, Read, Future[Any]]] = deque()
        """Each with the number of the last write that it waits for."""
        self._taken = self._gone = 0
        """How many writes were queued, and how many of them are in the file, or were refused by it."""
        self._stop_at: float | None = None
        self._connection: sqlite3.Connection | None = None
        self._error = ""
        self._try_at = 0.0
        self._upkeep_at = 0.0
        self._untold = 0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Start the thread; the file is opened there."""
        self._thread.start()

    def put(self, write: Write, *, size: int) -> bool:
        """Queue a write of about ``size`` bytes; ``False`` when the queue is full. Never waits."""
        with self._wake:
            if len(self._writes) >= QUEUE or self._bytes + size > QUEUE_BYTES or self._stop_at is not None:
                self.dropped += 1
                self._untold += 1
                return False
            self._writes.append((write, size))
            self._taken += 1
            self._bytes += size
            self._wake.notify()
        return True

    def ask(self, read: Read) -> "Future[Any]":
        """Run ``read`` in the thread, after all that was queued before; ``StoreUnavailableError`` when it cannot be.

        What ``read`` raises besides is the answer, too.
        """
        return self._queue_read(read, most=READS)

    def written(self) -> "Future[None]":
        """Return what ends once all that was queued before is in the file; ``StoreUnavailableError`` when it cannot be.

        Who waits for writes of their own are not counted among the questions: they are as many as they have writes.
        """
        return self._queue_read(lambda _: None, most=sys.maxsize)

    def _queue_read(self, read: Read, *, most: int) -> "Future[Any]":
        answer: Future[Any] = Future()
        with self._wake:
            if len(self._reads) >= most or self._stop_at is not None:
                answer.set_exception(StoreUnavailableError("too many questions wait"))
                return answer
            self._reads.append((self._taken, read, answer))
            self._wake.notify()
        return answer

    async def close(self, patience: float) -> bool:
        """Write what is queued and end the thread; ``False`` when something is left after ``patience`` seconds."""
        with self._wake:
            self._stop_at = time.monotonic() + patience
            self._wake.notify()
        while self._thread.is_alive() and time.monotonic() < self._stop_at + BUSY:  # noqa: ASYNC110 - for moments, at the end
            await asyncio.sleep(0.01)
        return not self._thread.is_alive() and not self._writes

    # The thread.

    def _run(self) -> None:
        while True:
            batch = self._take()
            if batch:
                self._write(batch)
            for read, answer in self._ripe():
                self._answer(read, answer)
            now = time.monotonic()
            if self._stop_at is not None:
                if not self._writes or now >= self._stop_at:
                    break
            elif now >= self._upkeep_at:
                self._upkeep_at = now + UPKEEP
                self._write([])
        for _, _, answer in self._reads:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(StoreUnavailableError("it is being closed"))
        self._disconnect()

    def _take(self) -> list[tuple[Write, int]]:
        with self._wake:
            while True:
                now = time.monotonic()
                can_write = bool(self._writes) and now >= self._try_at
                if can_write or self._reads or now >= self._upkeep_at or self._stop_at is not None:
                    break
                until = min(self._upkeep_at, self._try_at) if self._writes else self._upkeep_at
                self._wake.wait(max(0.0, until - now))
            if self._stop_at is not None and not can_write and self._writes:
                self._wake.wait(min(0.1, self._retry))
                can_write = True
            return list(islice(self._writes, BATCH)) if can_write else []

    def _ripe(self) -> list[tuple[Read, "Future[Any]"]]:
        """Take the questions that wait for no write any more, or for one that cannot be written now."""
        with self._wake:
            is_stuck = time.monotonic() < self._try_at
            ripe = []
            while self._reads and (is_stuck or self._reads[0][0] <= self._gone):
                _, read, answer = self._reads.popleft()
                ripe.append((read, answer))
            return ripe

    def _write(self, batch: list[tuple[Write, int]]) -> None:
        """Write a batch in one transaction, or upkeep without one; what cannot be written now stays queued."""
        try:
            connection = self._connect()
            if not batch and self._upkeep is not None:
                self._transact(connection, [self._upkeep])
            elif batch:
                self._transact(connection, [write for write, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever one write raises, the thread writes on
            if batch and not _is_of_the_file(error):
                self._write_one_by_one(batch)
                return
            self._failed(error)
            return
        self._done(batch)

    def _write_one_by_one(self, batch: list[tuple[Write, int]]) -> None:
        """Find the write that is wrong in itself, so that it holds up nothing: it is logged and dropped."""
        for write in batch:
            try:
                self._transact(self._connect(), [write[0]])
            except Exception as error:
                if _is_of_the_file(error):
                    self._failed(error)
                    return
                logger.exception("store.write_refused", extra={"fields": {"file": self.path.name}})
            self._done([write])

    def _transact(self, connection: sqlite3.Connection, writes: list[Write]) -> None:
        with transaction(connection):
            for write in writes:
                write(connection)

    def _done(self, batch: list[tuple[Write, int]]) -> None:
        with self._wake:
            for _, size in batch:
                self._writes.popleft()
                self._gone += 1
                self._bytes -= size
            dropped = self._untold if not self._writes else 0
            self._untold -= dropped
        if self._error or dropped:
            self._error = ""
            self._tell(Trouble(dropped=dropped))

    def _failed(self, error: Exception) -> None:
        self._disconnect()
        self._try_at = time.monotonic() + self._retry
        is_corrupt = getattr(error, "sqlite_errorname", "").startswith(_CORRUPT)
        if is_corrupt and (moved := self._move_aside()):
            self._try_at = 0.0
            self._tell(Trouble(str(error), moved_to=moved))
            return
        text = f"{type(error).__name__}: {error}"
        if not self._error:
            self._tell(Trouble(text))
        self._error = text

    def _answer(self, read: Read, answer: "Future[Any]") -> None:
        if not answer.set_running_or_notify_cancel():
            return
        if time.monotonic() < self._try_at:
            answer.set_exception(StoreUnavailableError(self._error))
            return
        try:
            found = read(self._connect())
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            answer.set_exception(StoreUnavailableError(str(error)))
        except Exception as error:  # noqa: BLE001 - it goes to who asked; the thread writes on
            answer.set_exception(error)
        else:
            answer.set_result(found)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        connection = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)
        connection.text_factory = text
        try:
            refuse_newer(connection, self._migrations)
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            for pragma in self._pragmas:
                connection.execute(pragma)
            connection.execute("PRAGMA journal_size_limit = 1048576")
            migrate(connection, self._migrations)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _move_aside(self) -> str:
        """Put the corrupt file out of the way, in place of an earlier one; return where, or ``""`` when it stays."""
        aside = self.path.with_name(f"{self.path.name}.corrupt")
        try:
            for ending in ("-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            self.path.replace(aside)
        except OSError as error:
            logger.warning("store.cannot_move", extra={"fields": {"file": self.path.name, "error": str(error)}})
            return ""
        return str(aside)

    def _tell(self, trouble: Trouble) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens
            self._loop.call_soon_threadsafe(self._on_trouble, trouble)


def text(data: bytes) -> str:
    """Return a text column, whatever is in it: one value that is no UTF-8 would fail the whole question."""
    return data.decode(errors="replace")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all of what is in the ``with``, or nothing; nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def refuse_newer(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Raise ``sqlite3.NotSupportedError`` for a file of a version that is not known here; it is left as it is."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(migrations):
        message = f"its schema has version {found}, this supervisor knows {len(migrations)}: a newer one wrote it"
        raise sqlite3.NotSupportedError(message)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Bring the schema to its newest version, each step in a transaction of its own."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    for version in range(found, len(migrations)):
        with transaction(connection):
            for statement in migrations[version].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")


def _is_of_the_file(error: Exception) -> bool:
    """Tell whether the file is the trouble (full, read-only, locked, corrupt), not the one thing that was written."""
    name = getattr(error, "sqlite_errorname", "")
    return isinstance(error, OSError | sqlite3.NotSupportedError) or name.startswith(_FILE_TROUBLES)


_FILE_TROUBLES = (
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_READONLY",
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_CANTOPEN",
    "SQLITE_PERM",
    "SQLITE_NOMEM",
    "SQLITE_PROTOCOL",
    *_CORRUPT,
)
