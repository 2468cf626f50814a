"""Keys of worked records in PostgreSQL, for the workers of many hosts. Needs the extra ``postgresql``."""

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import psycopg
from psycopg import sql

from supervisor.plugin import Claim, Seconds, hookimpl

CREATE = """
create table if not exists {table} (key text primary key, token text, until timestamptz not null);
create index if not exists {index} on {table} (until)
"""
"""``token`` is null once the key is done; ``until`` is when the row means nothing any more, by the server's clock."""
CLAIM = """
insert into {table} as old (key, token, until)
select key, %(token)s, clock_timestamp() + %(seconds)s * interval '1 second'
from unnest(%(keys)s::text[]) as key order by key
on conflict (key) do update set token = excluded.token, until = excluded.until
where old.until <= clock_timestamp() or old.token = excluded.token
returning key
"""
STATE = "select key from {table} where key = any(%(keys)s) and token is null and until > clock_timestamp()"
DONE = """
insert into {table} (key, token, until)
select key, null, clock_timestamp() + %(seconds)s * interval '1 second'
from unnest(%(keys)s::text[]) as key order by key
on conflict (key) do update set token = null, until = excluded.until
"""
RELEASE = "delete from {table} where key = any(%(keys)s) and token = %(token)s"
FORGET = """
delete from {table} where key in
(select key from {table} where until <= clock_timestamp() limit %(limit)s for update skip locked)
"""
FORGET_EACH = 1000
"""Claims of this worker between two deletions of rows that mean nothing any more, twice as many as may have come."""
LONGEST_NAME = 57
"""Bytes of a table's name: the server cuts names at 63, and its index is called ``_until`` as well."""
LOCK = 7_301_946_217
"""Of the server, while the table is made: two at once would trip over each other even with ``if not exists``."""
Answer = TypeVar("Answer")


class _Connection(psycopg.Connection[Any]):
    """One that waits for no answer longer than ``timeout`` seconds: who hangs does not end a statement in time."""

    timeout = 5.0

    def wait(self, gen: Generator[Any, Any, Answer], *args: Any, **more: Any) -> Answer:  # noqa: ANN401
        return super().wait(_bounded(gen, time.monotonic() + self.timeout), *args, **more)


def _bounded(gen: Generator[Any, Any, Answer], deadline: float) -> Generator[Any, Any, Answer]:
    """Do as ``gen`` does; psycopg wakes it now and then (3.2 and later) though nothing came."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                text = "no answer"
                raise TimeoutError(text)
            wanted = gen.send(ready)
    except StopIteration as end:
        return cast("Answer", end.value)


class PostgresqlStore:
    """A table of keys, made when it is missing; a few connections, each for one statement at a time."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``dsn`` is libpq's connection string; ``timeout`` bounds connecting and each statement."""

        dsn: str = field(repr=False)
        table: str = "supervisor_keys"
        connections: int = 4
        timeout: Seconds = 5.0

        def __post_init__(self) -> None:
            """Refuse what libpq cannot read, without showing it."""
            if self.connections < 1:
                text = "connections must be at least 1"
                raise ValueError(text)
            try:
                psycopg.conninfo.conninfo_to_dict(self.dsn)
            except psycopg.ProgrammingError:
                text = "dsn is not a connection string of libpq"
                raise ValueError(text) from None
            parts = self.table.split(".")
            if len(parts) > 2 or "\0" in self.table or not all(0 < len(one.encode()) <= LONGEST_NAME for one in parts):  # noqa: PLR2004
                text = f"table must be a name or schema.name, each of at most {LONGEST_NAME} bytes"
                raise ValueError(text)

    def __init__(self, options: Options) -> None:
        self._options = options
        *schema, name = options.table.split(".")
        self._names = {
            "table": sql.Identifier(*schema, name),
            "index": sql.Identifier(f"{name}_until"),
        }
        self._places = threading.BoundedSemaphore(options.connections)
        self._idle: list[psycopg.Connection[Any]] = []
        self._is_made = False
        self._claims = 0

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the connections."""
        self._drop_idle()

    @hookimpl
    def claim(self, keys: Sequence[str], token: str, lease: float) -> list[Claim]:
        """Claim all of the keys in one statement; a second one looks at those that are not free."""
        self._claims += len(keys)
        if self._claims >= FORGET_EACH:
            limit, self._claims = 2 * self._claims, 0
            with suppress(psycopg.Error):  # what matters says so itself, at once
                self._run(FORGET, limit=limit)
        mine = self._run(CLAIM, keys=list(keys), token=token, seconds=lease)
        others = [key for key in keys if key not in mine]
        done = self._run(STATE, keys=others) if others else set()
        return [Claim.MINE if key in mine else Claim.DONE if key in done else Claim.BUSY for key in keys]

    @hookimpl
    def done(self, keys: Sequence[str], ttl: float) -> None:
        """Remember the keys in one statement."""
        self._run(DONE, keys=list(keys), seconds=ttl)

    @hookimpl
    def release(self, keys: Sequence[str], token: str) -> None:
        """Forget claims in one statement."""
        self._run(RELEASE, keys=list(keys), token=token)

    def _run(self, statement: str, **values: object) -> set[str]:
        """Run a statement and return the keys in its rows. Any thread."""
        if not self._places.acquire(timeout=self._options.timeout):
            text = "all connections are busy"
            raise TimeoutError(text)
        try:
            idle = self._take_idle()
            if idle is not None:
                try:
                    return self._ask(idle, statement, values)
                except psycopg.OperationalError:
                    # The server may have ended it while it was idle, and the others with it; each statement may be
                    # run again.
                    self._drop_idle()
            return self._ask(self._open(), statement, values)
        finally:
            self._places.release()

    def _ask(self, connection: psycopg.Connection[Any], statement: str, values: dict[str, object]) -> set[str]:
        try:
            cursor = connection.execute(self._sql(statement), values)
            rows = {str(row[0]) for row in cursor.fetchall()} if cursor.description else set()
        except BaseException:
            connection.close()
            self._is_made = False  # perhaps that is what is wrong: the next connection looks
            raise
        self._idle.append(connection)
        return rows

    def _take_idle(self) -> psycopg.Connection[Any] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _drop_idle(self) -> None:
        while (idle := self._take_idle()) is not None:
            idle.close()

    def _sql(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(**self._names)

    def _open(self) -> psycopg.Connection[Any]:
        milliseconds = max(1, round(self._options.timeout * 1000))
        theirs = psycopg.conninfo.conninfo_to_dict(self._options.dsn).get("options", "")
        connection = _Connection.connect(
            self._options.dsn,
            autocommit=True,
            connect_timeout=max(2, round(self._options.timeout)),
            options=f"-c statement_timeout={milliseconds} {theirs}",
            tcp_user_timeout=milliseconds,
            fallback_application_name="kafka-supervisor",
        )
        connection.timeout = self._options.timeout
        try:
            if not self._is_made:
                self._make(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make(self, connection: psycopg.Connection[Any]) -> None:
        """Make the table, unless it is there: then nobody needs the right to."""
        exists = connection.execute("select to_regclass(%s)", (self._names["table"].as_string(connection),)).fetchone()
        if exists is None or exists[0] is None:
            with connection.transaction():
                connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
                connection.execute(self._sql(CREATE))
        self._is_made = True
