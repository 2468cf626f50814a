"""The ledger: which records are accused of killing their workers, in a file that outlives the supervisor.

One for all groups, so that a case follows its partition to any slot of this host. Everything is known in memory at
once; the file is written behind it, by the store's thread, and a slot starts again once its death is in it.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from supervisor.core.accusations import Accusation, Cause, Record
from supervisor.core.docket import Case, Change, Docket, Evidence, runs_of
from supervisor.core.events import Severity
from supervisor.core.exits import describe
from supervisor.core.frames import Frame
from supervisor.core.jsonable import to_json
from supervisor.core.snapshot import PartitionStats
from supervisor.parent.eventlog import EventLog
from supervisor.parent.store import Store, StoreUnavailableError, Trouble

FILE = "ledger.sqlite3"
OPEN = 3.0
FLUSH = 5.0
DURABLE = 1.0
"""Seconds that a slot waits until its death is in the file."""
MOST_STACK = 8 * 1024
MOST_LOG = 4 * 1024
MOST_EVIDENCE = 512 * 1024
"""Bytes of evidence in one answer, as they are sent; convictions beyond it come without. A frame has a limit."""
MOST_ASKED = 10_000
"""Partitions or records of one frame that are looked at."""

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


class Ledger:
    """The docket and its file. In the parent's loop; nothing here waits but ``open`` and ``close``.

    Without a file (a disk that is full, a folder that is read-only) all is known as long as the supervisor lives.
    """

    def __init__(self, state_dir: Path, events: EventLog) -> None:
        self.docket = Docket()
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._waits: dict[tuple[str, int], asyncio.Task[None]] = {}
        self.store = Store(
            ledger_file(state_dir), MIGRATIONS, on_trouble=self._trouble, pragmas=("PRAGMA synchronous = FULL",)
        )

    async def open(self) -> None:
        """Read what an earlier supervisor knew; waits at most ``OPEN`` seconds for the file, and goes on without it."""
        self.store.start()
        try:
            rows = await asyncio.wait_for(asyncio.wrap_future(self.store.ask(_read)), OPEN)
        except (StoreUnavailableError, TimeoutError) as error:
            text = f"who is accused of killing a worker is not known: {_why(error)}"
            self._events.tell("ledger.unread", Severity.WARNING, text, fields={"file": str(self.store.path)})
            return
        for key, offset, case in rows:
            self.docket.restore(key, offset, case)

    async def close(self) -> None:
        """Write what is queued, for at most ``FLUSH`` seconds."""
        for wait in self._waits.values():
            wait.cancel()
        await self.store.close(FLUSH)

    def accuse(
        self, group: str, slot: int, accusation: Accusation, *, max_deaths: int, status: int, found: dict[str, str]
    ) -> tuple[str, bool]:
        """Enter what a death said, and tell; return it in words, and whether it is news. The next start waits for it.

        That a convicted record killed once more is none: whoever works it all the same does not heed its sentence.
        """
        named = accusation.named
        if named is not None and (case := self.docket.of(group, named[:2]).get(named[2])) and case.convicted:
            return "convicted", False
        evidence = Evidence(status, found.get("stack", "")[-MOST_STACK:], found.get("log", "")[-MOST_LOG:])
        changes = self.docket.accuse(group, accusation, evidence, max_deaths=max_deaths, now=time.time())
        self._keep(changes)
        if changes:
            self._wait_for(group, slot)
        if named is None:
            count = sum(last - first + 1 for _, _, first, last in accusation.suspects)
            return (f"{count} suspects" if count > 1 else "a suspect"), True
        (_, _, case) = changes[0]
        assert case is not None  # noqa: S101 - a named record has a case
        if case.convicted:
            self._convicted(group, slot, named, case)
        return f"{case.deaths} of {max_deaths}", True

    def when_durable(self, group: str, slot: int, go: Callable[[], None]) -> None:
        """Call ``go`` once what the slot's last death said is in the file; at once where that is so."""
        wait = self._waits.get((group, slot))
        if wait is None:
            go()
        else:
            wait.add_done_callback(lambda done: None if done.cancelled() else go())

    def answer(self, group: str, question: Frame) -> dict[str, object]:
        """Return the members of the ``accused`` frame that answers a worker's; raises as ``hear`` does."""
        suspects: list[object] = []
        convicted: list[object] = []
        room = MOST_EVIDENCE
        for topic, partition in question["partitions"][:MOST_ASKED]:
            cases = self.docket.of(group, (str(topic), int(partition)))
            if not cases:
                continue
            runs = runs_of(offset for offset, case in cases.items() if not case.convicted)
            ids = {case.topic_id for case in cases.values()} - {""}
            suspects.append([topic, partition, runs, sorted(ids)])
            for offset, case in cases.items():
                if case.convicted:
                    told = to_json(case)
                    size = len(json.dumps(told))
                    if case.buried or size > room:
                        told, size = _short(case), 0
                    room -= size
                    convicted.append([topic, partition, offset, told])
        return {"ask": int(question["ask"]), "suspects": suspects, "convicted": convicted}

    def hear(self, group: str, slot: int, frame: Frame) -> None:
        """Take what a worker says of accused records; ``KeyError``, ``TypeError`` or ``ValueError`` when malformed."""
        match frame["type"]:
            case "acquitted":
                self._acquitted(group, slot, _records(frame))
            case "buried":
                self._keep(self.docket.bury(group, _records(frame)))
            case "identified":
                for topic, topic_id in list(dict(frame["topics"]).items())[:MOST_ASKED]:
                    self._keep(self.docket.identify(group, str(topic), str(topic_id)[:100]))

    def words(self, group: str) -> str:
        """Return who of a group is accused, for its line in the status; empty when nobody is."""
        suspects, convicted = self.docket.count(group)
        parts = [f"{suspects} suspected of killing workers"] if suspects else []
        parts += [f"{convicted} convicted of it"] if convicted else []
        return f"records: {', '.join(parts)}" if parts else ""

    def committed(self, group: str, partitions: Iterable[PartitionStats]) -> None:
        """Forget what is below the committed offsets; each second of each worker."""
        if self.docket.is_empty:
            return
        for one in partitions:
            self._keep(self.docket.committed(group, (one.topic, one.partition), one.committed))

    def _acquitted(self, group: str, slot: int, records: list[Record]) -> None:
        acquitted = self.docket.acquit(group, records)
        self._keep([change for change, _ in acquitted])
        for ((_, topic, partition), offset, _), case in acquitted:
            if case.deaths:
                name = f"{topic}/{partition}@{offset}"
                text = f"{name} finished, after {_deaths(case.deaths)} that counted against it"
                self._events.tell(
                    "record.acquitted", Severity.INFO, text, group=group, slot=slot, fields={"record": name}
                )

    def _convicted(self, group: str, slot: int, record: Record, case: Case) -> None:
        name = f"{record[0]}/{record[1]}@{record[2]}"
        how = "took too long" if case.cause is Cause.TIMEOUT else describe(case.evidence.status)
        text = f"{name} ended its worker {case.deaths} times ({how}); it becomes a dead letter"
        self._events.tell(
            "record.convicted",
            Severity.WARNING,
            text,
            group=group,
            slot=slot,
            fields={"record": name, "deaths": case.deaths, "disposition": case.cause.value},
        )

    def _keep(self, changes: Sequence[Change]) -> None:
        if changes:
            size = sum(300 + (len(case.evidence.stack + case.evidence.log) if case else 0) for _, _, case in changes)
            self.store.put(partial(_write, tuple(changes)), size=size)

    def _wait_for(self, group: str, slot: int) -> None:
        """Have the slot's next start wait until all that is queued is in the file, or for ``DURABLE`` seconds."""
        key = (group, slot)
        wait = self._waits[key] = self._loop.create_task(self._durable(group, slot))
        wait.add_done_callback(lambda done: self._waits.pop(key, None) if self._waits.get(key) is done else None)

    async def _durable(self, group: str, slot: int) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(self.store.ask(lambda _: None)), DURABLE)
        except (StoreUnavailableError, TimeoutError) as error:
            text = f"what its death said is not durable yet ({_why(error)}); it starts anyway"
            self._events.tell("ledger.not_durable", Severity.WARNING, text, group=group, slot=slot)

    def _trouble(self, trouble: Trouble) -> None:
        file = str(self.store.path)
        if trouble.moved_to:
            text = f"corrupt ({trouble.error}), moved to {trouble.moved_to}; a new one is begun"
            self._events.tell("ledger.corrupt", Severity.WARNING, text, fields={"file": file})
        elif trouble.error:
            text = f"who is accused of killing a worker is kept in memory only: {trouble.error}"
            self._events.tell("ledger.unwritable", Severity.WARNING, text, fields={"file": file})
        else:
            text = f"{trouble.dropped} changes were dropped" if trouble.dropped else "nothing was lost"
            severity = Severity.WARNING if trouble.dropped else Severity.INFO
            self._events.tell("ledger.written", severity, text, fields={"file": file, "dropped": trouble.dropped})


def ledger_file(state_dir: Path) -> Path:
    """Return where the supervisor that keeps its state in ``state_dir`` has its ledger."""
    return state_dir / FILE


def _short(case: Case) -> dict[str, object]:
    told: dict[str, object] = to_json(case)
    return {**told, "evidence": {"status": case.evidence.status}}


def _why(error: Exception) -> str:
    return str(error) or "no answer in time"


def _deaths(count: int) -> str:
    return "1 death" if count == 1 else f"{count} deaths"


def _records(frame: Frame) -> list[Record]:
    return [(str(topic), int(partition), int(offset)) for topic, partition, offset in frame["records"][:MOST_ASKED]]


def _read(connection: sqlite3.Connection) -> list[tuple[tuple[str, str, int], int, Case]]:
    return [
        (
            (group, topic, partition),
            offset,
            Case(deaths, Cause(cause), bool(convicted), bool(buried), first, last, topic_id, Evidence(*evidence)),
        )
        for (
            group,
            topic,
            partition,
            offset,
            topic_id,
            deaths,
            cause,
            convicted,
            buried,
            first,
            last,
            *evidence,
        ) in connection.execute("SELECT * FROM accused")
    ]


def _write(changes: Sequence[Change], connection: sqlite3.Connection) -> None:
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
