"""The event journal: every event and every incarnation, in a file that outlives the supervisor (P7)."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from supervisor.control.answers import EventEntry, EventPage
from supervisor.core.event_query import EventQuery
from supervisor.core.events import Event, Scalar, Severity
from supervisor.parent.store.eventlog import EventLog
from supervisor.parent.store.journal_file import (
    MIGRATIONS,
    Incarnation,
    journal_file,
    open_incarnations,
    read_page,
    row,
)
from supervisor.parent.store.store import Store, StoreUnavailableError, Trouble

OPEN = 3.0
READ = 3.0
FLUSH = 5.0
GONE = "unknown (supervisor was gone)"
KEPT = 100
"""Events that are kept however small the journal shall be."""
ROOM = 0.9
"""How full a journal is left that was too large, so that not each new event makes it too large again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept: seconds and bytes."""

    max_age: float = 30 * 86400.0
    max_size: int = 100 << 20


class Journal:
    """Takes every event from the log and answers questions about the past. In the parent's loop.

    Incarnations that an earlier supervisor left open are closed here, each once: when their slot starts anew (its
    lock is free by then), when the process is killed as a survivor, or after ``grace`` seconds.
    """

    def __init__(self, state_dir: Path, retention: Retention, events: EventLog, *, grace: float) -> None:
        self._retention = retention
        self._events = events
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._left: list[Incarnation] = []
        self._timer: asyncio.TimerHandle | None = None
        self._moved = False
        self.store = Store(journal_file(state_dir), MIGRATIONS, on_trouble=self._trouble, upkeep=self._upkeep)

    async def open(self) -> None:
        """Start to keep events; waits at most ``OPEN`` seconds for the file, and goes on without it."""
        self.store.start()
        try:
            last, self._left = await self._ask(_past, OPEN)
        except StoreUnavailableError:
            last = None
        # Later than whatever the file holds or held, so that numbers never go back.
        self._events.go_on_from(int(time.time() * 1000) if last is None or self._moved else last)
        for entry in self._events.since(0).entries:
            self._keep(entry)
        self._events.keeper = self._keep
        self._events.listen(self._heard)
        if self._left:
            text = f"the supervisor before this one ended without a word; it left {_counted(len(self._left))}"
            self._events.tell("supervisor.was_gone", Severity.WARNING, text, fields={"open": len(self._left)})
            self._timer = self._loop.call_later(self._grace, self._close_left, lambda _: True)

    def retain(self, retention: Retention) -> None:
        """Keep so long and so much from now on."""
        if retention != self._retention:
            self._retention = retention
            self.store.put(self._upkeep, size=0)

    async def page(self, query: EventQuery) -> EventPage:
        """Return what ``query`` wants; from memory when that reaches back far enough, or the file cannot be read."""
        if query.since is not None and self._events.reaches(query.since):
            return self._events.page(query)
        try:
            found: EventPage = await self._ask(partial(read_page, query=query), READ)
        except StoreUnavailableError:
            return self._events.page(query, is_complete=False)
        return found

    async def close(self) -> None:
        """Write what is queued, for at most ``FLUSH`` seconds."""
        if self._timer is not None:
            self._timer.cancel()
        await self.store.close(FLUSH)
        self._events.keeper = None

    async def _ask(self, read: Callable[[sqlite3.Connection], T], patience: float) -> T:
        try:
            found: T = await asyncio.wait_for(asyncio.wrap_future(self.store.ask(read)), patience)
        except TimeoutError:
            message = f"no answer within {patience:g} s"
            raise StoreUnavailableError(message) from None
        return found

    def _keep(self, entry: EventEntry) -> None:
        values = row(entry)
        size = 200 + sum(len(value) for value in values if isinstance(value, str))
        self.store.put(partial(_insert, values, entry), size=size)

    def _heard(self, event: Event) -> None:
        if not self._left:
            return
        if event.name == "slot.started":
            self._close_left(lambda one: (one.group, one.slot) == (event.group, event.slot))
        elif event.name == "worker.exited":
            self._left = [one for one in self._left if not _is_end_of(event, one)]

    def _close_left(self, concerned: Callable[[Incarnation], bool]) -> None:
        gone = [one for one in self._left if concerned(one)]
        self._left = [one for one in self._left if not concerned(one)]
        for one in gone:
            fields: dict[str, Scalar] = {
                "pid": one.pid,
                "class": "unknown",
                "incarnation": one.incarnation,
                "mode": one.mode,
                "started_at": round(one.at, 3),
                "start": one.seq,
            }
            self._events.tell("worker.exited", Severity.INFO, GONE, group=one.group, slot=one.slot, fields=fields)

    def _trouble(self, trouble: Trouble) -> None:
        file = str(self.store.path)
        if trouble.moved_to:
            self._moved = True
            text = f"corrupt ({trouble.error}), moved to {trouble.moved_to}; a new one is begun"
            self._events.tell("journal.corrupt", Severity.WARNING, text, fields={"file": file})
        elif trouble.error:
            text = f"events are kept in memory only: {trouble.error}"
            self._events.tell("journal.unwritable", Severity.WARNING, text, fields={"file": file})
        else:
            severity = Severity.WARNING if trouble.dropped else Severity.INFO
            text = f"{trouble.dropped} events were dropped" if trouble.dropped else "nothing was lost"
            self._events.tell("journal.written", severity, text, fields={"file": file, "dropped": trouble.dropped})

    def _upkeep(self, connection: sqlite3.Connection) -> None:
        """Drop what is too old or too much. Runs in the store's thread."""
        drop_old(connection, before=time.time() - self._retention.max_age)
        drop_surplus(connection, self._retention.max_size)


def drop_old(connection: sqlite3.Connection, *, before: float) -> None:
    """Delete events and ended incarnations from before a wall time."""
    kept = connection.execute("SELECT seq FROM events WHERE at >= ? ORDER BY seq LIMIT 1", (before,)).fetchone()
    if kept is None:
        connection.execute("DELETE FROM events")
    else:
        connection.execute("DELETE FROM events WHERE seq < ?", kept)
    connection.execute("DELETE FROM incarnations WHERE ended_at < ?", (before,))


def drop_surplus(connection: sqlite3.Connection, max_size: int) -> None:
    """Delete the oldest events when the file holds more than ``max_size`` bytes, and give their pages back."""
    (pages,), (free,), (size,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    count, oldest = connection.execute("SELECT count(*), min(seq) FROM events").fetchone()
    surplus = surplus_of(count, (pages - free) * size, max_size)
    if surplus:
        last = connection.execute("SELECT seq FROM events ORDER BY seq LIMIT 1 OFFSET ?", (surplus - 1,)).fetchone()
        connection.execute("DELETE FROM events WHERE seq BETWEEN ? AND ?", (oldest, *last))
        connection.execute("DELETE FROM incarnations WHERE ended_seq <= ?", last)
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(free):  # Python's sqlite3 takes one step of a statement without columns, and that is one page
        connection.execute("PRAGMA incremental_vacuum")


def surplus_of(count: int, used: int, max_size: int) -> int:
    """Return how many of ``count`` events, the oldest, must go so that ``used`` bytes become less than ``max_size``."""
    if used <= max_size:
        return 0
    return max(0, min(count - KEPT, -int(-count * (1 - ROOM * max_size / used) // 1)))


def _past(connection: sqlite3.Connection) -> tuple[int, list[Incarnation]]:
    (last,) = connection.execute("SELECT max(seq) FROM events").fetchone()
    return last or 0, open_incarnations(connection)


def _insert(values: tuple[object, ...], entry: EventEntry, connection: sqlite3.Connection) -> None:
    """Write one event, and the incarnation that begins or ends with it, in the transaction of the caller."""
    connection.execute("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    event = entry.event
    match event.name:
        case "slot.started":
            told = (event.fields.get("pid"), event.fields.get("incarnation"), event.fields.get("mode"))
            connection.execute(
                "INSERT OR REPLACE INTO incarnations VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                (entry.seq, event.at, event.group, event.slot, *told),
            )
        case "worker.exited":
            _close(connection, entry.seq, event)


def _close(connection: sqlite3.Connection, seq: int, event: Event) -> None:
    """Note an end; by the number of its start where that is known: in containers pids come again and again."""
    update = "UPDATE incarnations SET ended_at = ?, ended_seq = ? WHERE ended_at IS NULL AND"
    if "start" in event.fields:
        connection.execute(f"{update} seq = ?", (event.at, seq, event.fields["start"]))
    elif event.group:
        slot = (event.group, event.slot, event.fields.get("pid"))
        connection.execute(f"{update} grp = ? AND slot = ? AND pid = ?", (event.at, seq, *slot))
    else:
        connection.execute(f"{update} pid = ?", (event.at, seq, event.fields.get("pid")))


def _is_end_of(event: Event, one: Incarnation) -> bool:
    """Tell whether a ``worker.exited`` is of this process; one of a slot that is configured no more names no slot."""
    is_there = not event.group or (event.group, event.slot) == (one.group, one.slot)
    return is_there and event.fields.get("pid") == one.pid


def _counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
