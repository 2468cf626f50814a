"""The ledger: which records are accused of killing their workers, in a file that outlives the supervisor.

One for all groups, so that a case follows its partition to any slot of this host. Everything is known in memory at
once; the file is written behind it, by the store's thread, and a slot starts again once its death is in it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from supervisor.core.accusations import Accusation
from supervisor.core.accused_frames import accused_frames
from supervisor.core.cases import Case, Cause, Evidence, Record
from supervisor.core.docket import Change, Docket, Key
from supervisor.core.events import Scalar, Severity
from supervisor.core.exits import describe
from supervisor.core.frames import Frame
from supervisor.core.worker_stats import PartitionStats
from supervisor.parent.deaths.ledger_file import MIGRATIONS, ledger_file, read, write
from supervisor.parent.processes.channel import Channel
from supervisor.parent.store.eventlog import EventLog
from supervisor.parent.store.store import Store, StoreUnavailableError, Trouble

OPEN = 3.0
FLUSH = 5.0
DURABLE = 10.0
"""Seconds that a slot waits until its death is in the file, or the disk says that it cannot be; a hung one does not."""
AGE_EVERY = 3600.0
MOST_STACK = 8 * 1024
MOST_LOG = 4 * 1024
MOST_ASKED = 10_000
"""Partitions or records of one frame that are looked at."""
MOST_REFUSED = 50_000
"""Cases whose changes found the queue full, and follow."""
TOGETHER = 100
"""Of those, how many are queued as one write."""


class Ledger:
    """The docket and its file. In the parent's loop; nothing here waits but ``open`` and ``close``.

    Without a file (a disk that is full, a folder that is read-only) all is known as long as the supervisor lives.
    """

    def __init__(self, state_dir: Path, events: EventLog) -> None:
        self.docket = Docket()
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._age_at = self._loop.time() + AGE_EVERY
        self._waits: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._refused: dict[tuple[Key, int], None] = {}
        """Cases that are in the file as they were: the queue was full when they changed."""
        self._lost = 0
        self.store = Store(
            ledger_file(state_dir), MIGRATIONS, on_trouble=self._trouble, pragmas=("PRAGMA synchronous = FULL",)
        )

    async def open(self) -> None:
        """Read what an earlier supervisor knew; waits at most ``OPEN`` seconds for the file, and goes on without it."""
        self.store.start()
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(self.store.ask(read)), OPEN)
        except (StoreUnavailableError, TimeoutError) as error:
            text = f"who is accused of killing a worker is not known: {_why(error)}"
            self._events.tell("ledger.unread", Severity.WARNING, text, fields={"file": str(self.store.path)})
            return
        for key, offset, case in found.rows:
            self.docket.restore(key, offset, case)
        if found.odd:
            text = f"another version wrote {found.odd} of its cases: {found.unread} cannot be read, the rest counts"
            fields: dict[str, Scalar] = {"file": str(self.store.path), "odd": found.odd, "unread": found.unread}
            self._events.tell("ledger.unread", Severity.WARNING, text, fields=fields)

    async def close(self) -> None:
        """Write what is queued, for at most ``FLUSH`` seconds."""
        for wait in self._waits.values():
            wait.cancel()
        self._queue_refused()
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

    def is_waited_for(self, group: str, slot: int) -> bool:
        """Tell whether what the slot's last death said is not in the file yet."""
        return (group, slot) in self._waits

    def answer(self, group: str, slot: int, question: Frame, channel: Channel) -> None:
        """Answer a worker's question for who is accused, as far as its channel has room; raises as ``hear`` does."""
        places = [(str(topic), int(partition)) for topic, partition in question["partitions"][:MOST_ASKED]]
        now = time.time()
        cases = [(place, of_place) for place in places if (of_place := self.docket.asked(group, place, now=now))]
        frames, left_out = accused_frames(int(question["ask"]), cases, room=channel.room)
        for frame in frames:
            channel.send("accused", **frame)
        if left_out:
            text = f"{left_out} accused records are too many for one answer; the worker is not told of them"
            self._events.tell("accusations.unknown", Severity.WARNING, text, group=group, slot=slot)

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
        parts += [f"{convicted} convicted of killing workers"] if convicted else []
        return f"records: {', '.join(parts)}" if parts else ""

    def committed(self, group: str, partitions: Iterable[PartitionStats]) -> None:
        """Forget what is below the committed offsets; each second of each worker."""
        if self.docket.is_empty:
            return
        for one in partitions:
            self._keep(self.docket.committed(group, (one.topic, one.partition), one.committed))

    def look(self) -> None:
        """Queue what was refused, and forget what is too old, each ``AGE_EVERY`` seconds; about once a second.

        Not at the start: workers ask first, and the machine's clock may not be right yet.
        """
        self._queue_refused()
        if self._loop.time() >= self._age_at:
            self._age_at = self._loop.time() + AGE_EVERY
            self._keep(self.docket.aged(now=time.time()))

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
        """Queue changes for the file; those that find it full follow, as far as there is room to note them."""
        if not changes or self._queue(changes):
            return
        for key, offset, _ in changes:
            if len(self._refused) < MOST_REFUSED:
                self._refused[key, offset] = None
            else:
                self._lost += 1

    def _queue(self, changes: Sequence[Change]) -> bool:
        size = sum(300 + (len(case.evidence.stack + case.evidence.log) if case else 0) for _, _, case in changes)
        return self.store.put(partial(write, tuple(changes)), size=size)

    def _queue_refused(self) -> bool:
        """Queue what was refused, as it is now; ``False`` when something is left."""
        while self._refused:
            some = list(islice(self._refused, TOGETHER))
            if not self._queue([(key, offset, self.docket.of(key[0], key[1:]).get(offset)) for key, offset in some]):
                return False
            for one in some:
                del self._refused[one]
        return True

    def _wait_for(self, group: str, slot: int) -> None:
        """Have the slot's next start wait until all that is known is in the file, or for ``DURABLE`` seconds."""
        key = (group, slot)
        wait = self._waits[key] = self._loop.create_task(self._durable(group, slot))
        wait.add_done_callback(lambda done: self._waits.pop(key, None) if self._waits.get(key) is done else None)

    async def _durable(self, group: str, slot: int) -> None:
        try:
            async with asyncio.timeout(DURABLE):
                is_whole = False
                while not is_whole:
                    is_whole = self._queue_refused()
                    await asyncio.wrap_future(self.store.written())
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
            lost, self._lost = self._lost, 0
            text = f"{lost} changes were dropped" if lost else "nothing was lost"
            severity = Severity.WARNING if lost else Severity.INFO
            self._events.tell("ledger.written", severity, text, fields={"file": file, "dropped": lost})


def _why(error: Exception) -> str:
    return str(error) or "no answer in time"


def _deaths(count: int) -> str:
    return "1 death" if count == 1 else f"{count} deaths"


def _records(frame: Frame) -> list[Record]:
    return [(str(topic), int(partition), int(offset)) for topic, partition, offset in frame["records"][:MOST_ASKED]]
