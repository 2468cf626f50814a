"""The checks: what every record of the group went through, and each promise that was broken on the way."""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

from supervisor.core.board import Board
from supervisor.core.spec import Ordering
from supervisor.plugin.types import Record
from tests.simulation.broker import SOURCE, Broker, Headers, Log, Place, named
from tests.simulation.client import Delivered, delivered
from tests.simulation.copies import Copies, Copy, ours
from tests.simulation.machine import Machine, Process
from tests.simulation.shape import Shape


class Ownership:
    """A partition in the hands of one consumer, from one assignment to its end."""

    __slots__ = (
        "attempts",
        "copied",
        "done",
        "first_open",
        "is_fenced",
        "is_over",
        "late",
        "place",
        "process",
        "settled_at",
        "start",
        "unheard",
    )

    def __init__(self, process: Process, place: Place, start: int, first_open: int) -> None:
        self.process = process
        self.place = place
        self.start = start
        self.done: set[int] = set()
        self.late: set[int] = set()
        """Those of which the process heard later, or never, that they are."""
        self.unheard: set[int] = set()
        """Those with a copy whose confirmation came when nobody waited for it any more: they may be begun again."""
        self.copied: set[int] = set()
        """Records whose copies the worker takes for written: it has no reason to write others."""
        self.attempts: dict[int, int] = {}
        self.is_over = self.is_fenced = False
        self.first_open = first_open
        """The index of the first record that this ownership has not settled."""
        self.settled_at: deque[tuple[float, int]] = deque(maxlen=400)
        """When ``first_open`` moved, and to which offset it is safe to commit since."""


class Ledger:
    """Watches one group."""

    def __init__(self, machine: Machine, broker: Broker, shape: Shape) -> None:
        self.machine = machine
        self.broker = broker
        self.copies = Copies(machine, shape, self.problem)
        self.broken: list[str] = []
        self.left = 0
        """Records that nobody settled yet."""
        self.begun = 0
        self.repeated = 0
        self._ordering = shape.ordering
        self._max_gap = shape.max_gap
        self._patient = shape.patient
        """Whether revokes wait longer than any handler takes, so that none leaves work behind."""
        self._gentle = shape.is_gentle
        self.alone = 0
        """Suspects of which it was checked that they began with all committed that was settled."""
        self._open: dict[Place, int] = {}
        """The index of each partition's first record that nobody settled yet."""
        self._settled: dict[Place, set[int]] = {}
        self._lanes: dict[Place, dict[Hashable, list[int]]] = {}
        self._before: dict[Place, list[int]] = {}
        """For each record the index of the one before it in its lane, or -1."""
        self._running: dict[tuple[Process, Hashable], int] = {}
        self._in_hand: dict[Process, set[tuple[Place, int]]] = {}
        self._begun_alone: dict[Process, set[tuple[str, int, int]]] = {}
        """Records that their process knew for suspects when it began them."""
        self._ownerships: dict[Process, dict[Ownership, None]] = {}
        """Those in which a process began a record."""
        broker.on_committed = self._committed

    def know(self, place: Place) -> None:
        """Take note of records that were added to a partition."""
        log = self.broker.logs[place]
        lanes = self._lanes.setdefault(place, {})
        before = self._before.setdefault(place, [])
        self._open.setdefault(place, 0)
        self._settled.setdefault(place, set())
        for at in range(len(before), len(log.offsets)):
            of_lane = lanes.setdefault(self._lane(place, log.offsets[at], log.records[at][0]), [])
            before.append(of_lane[-1] if of_lane else -1)
            of_lane.append(at)
            self.left += 1

    def is_working(self, process: Process) -> bool:
        """Tell whether records are in handlers of a process."""
        return bool(self._in_hand.get(process))

    # --- handlers and sinks -----------------------------------------------------------------------------

    def begin(self, process: Process, records: Sequence[Record], suspects: set[Any] | None) -> None:
        """Check that these records may be begun now, in this order, by this process (P2), and a suspect alone."""
        self._check_alone(process, records, suspects or set())
        if self._gentle and suspects and {(one.topic, one.partition, one.offset) for one in records} & suspects:
            self._check_committed(process, records[0])
        ownership: Ownership = delivered(records[0]._message).ownership
        place = ownership.place
        self._ownerships.setdefault(process, {})[ownership] = None
        ours: set[int] = set()
        for record in records:
            if delivered(record._message).ownership is not ownership:
                self._break("P2", record, "shares a batch with a record of another ownership")
            if place[0] != SOURCE:
                self.copies.begins(process, record)
            self._check_ownership(ownership, record)
            self._check_order(ownership, record, ours)
            offset = record.offset
            self.begun += 1
            if offset in self._settled[place]:
                self.repeated += 1
            self._running[process, self._lane(place, offset, record.key)] = offset
            ours.add(offset)
            self._in_hand.setdefault(process, set()).add((place, offset))
        self.machine.note("begins", process.name, named(place), sorted(ours))

    def _check_alone(self, process: Process, records: Sequence[Record], suspects: set[Any]) -> None:
        """Check that nothing is worked beside a suspect; who was begun before anybody suspected it is none here."""
        in_hand = {(*place, offset) for place, offset in self._in_hand.get(process, ())}
        known = self._begun_alone.setdefault(process, set())
        for record in records:
            where = (record.topic, record.partition, record.offset)
            if where in suspects and (in_hand or len(records) > 1):
                self._break("alone", record, f"is a suspect, and was begun beside {sorted(in_hand) or 'its batch'}")
            if beside := in_hand & suspects & known:
                self._break("alone", record, f"was begun beside the suspect {sorted(beside)}")
            if where in suspects:
                known.add(where)

    def _check_committed(self, process: Process, suspect: Record) -> None:
        """Check that all that is settled, and may be, is committed when a suspect begins: its death repeats none."""
        for ownership in self._ownerships.get(process, ()):
            if ownership.is_over or ownership.is_fenced:
                continue
            log = self.broker.logs[ownership.place]
            first = log.at(self.broker.committed.get(ownership.place, ownership.start))
            offset = log.offsets[first] if first < len(log.offsets) else None
            if offset in ownership.done and offset not in ownership.late:
                text = f"is a suspect, and was begun with {ownership.place[1]}@{offset} settled and not committed"
                self._break("P3", suspect, text)
        self.alone += 1

    def _check_ownership(self, ownership: Ownership, record: Record) -> None:
        """Check that a record is still the process's to begin, for the first time or once more."""
        offset = record.offset
        if self._patient and (ownership.is_over or ownership.is_fenced):
            self._break("P2", record, "was begun after its partition was given up")
        if offset in ownership.done and offset not in ownership.unheard:
            self._break("P2", record, "was begun again after it was settled")
        before = ownership.attempts.get(offset)
        if before is None:
            before = self.copies.attempts(ownership.place, offset)
        attempt = ownership.attempts[offset] = before + 1
        if record.attempt != attempt:
            self._break("attempts", record, f"is attempt {record.attempt} but was begun {attempt} times")
        beyond = self.broker.logs[ownership.place].at(offset) - ownership.first_open
        if beyond >= self._max_gap:
            self._break("P3", record, f"is {beyond} records beyond what may be committed")

    def _check_order(self, ownership: Ownership, record: Record, ours: set[int]) -> None:
        """Check that nothing of a record's lane runs, and that all before it is settled or in the same batch."""
        place, offset = ownership.place, record.offset
        running = self._running.get((ownership.process, self._lane(place, offset, record.key)))
        if running is not None and running not in ours:
            self._break("P2", record, f"was begun while {running} of its lane ran")
        log = self.broker.logs[place]
        before = self._before[place][log.at(offset)]
        if before >= 0 and self._ordering is not Ordering.NONE:
            earlier = log.offsets[before]
            if ownership.start <= earlier and earlier not in ownership.done and earlier not in ours:
                self._break("P2", record, f"was begun before {earlier} was settled")

    def leave(self, process: Process, records: Sequence[Record]) -> None:
        """Note that the handler is done with records, however."""
        for record in records:
            self._in_hand.get(process, set()).discard(((record.topic, record.partition), record.offset))
            self._running.pop((process, self._lane((record.topic, record.partition), record.offset, record.key)), None)

    def uncount(self, records: Sequence[Record]) -> None:
        """Note attempts that count for nothing: what the handler needs was away."""
        for record in records:
            delivered(record._message).ownership.attempts[record.offset] -= 1

    def repeats(self, ownership: Ownership, offset: int, attempt: int) -> None:
        """Note that a record will have this attempt again: it was held back instead of being given up."""
        ownership.attempts[offset] = attempt - 1

    def settle(self, ownership: Ownership, offset: int, *, ends: bool = True, late: bool = False) -> None:
        """Note that a record needs no more work: it was processed, dead-lettered, dropped; or (no end) copied.

        ``late``: its process hears of it in a while, if it still listens; of a copy always, and then in vain.
        """
        place = ownership.place
        if late or not ends:
            ownership.late.add(offset)
        if late and not ends:
            ownership.unheard.add(offset)
        self.machine.note("settled", ownership.process.name, named(place), offset, "" if ends else "for now")
        ownership.done.add(offset)
        if ends:
            self.copies.ended.add(self.copies.origin(place, offset))
        log = self.broker.logs[place]
        moved = False
        while ownership.first_open < len(log.offsets) and log.offsets[ownership.first_open] in ownership.done:
            ownership.first_open += 1
            moved = True
        if moved:
            ownership.settled_at.append((self.machine.now, self._safe(log, ownership.first_open)))
        settled = self._settled[place]
        if offset not in settled:
            settled.add(offset)
            self.left -= 1
            while self._open[place] < len(log.offsets) and log.offsets[self._open[place]] in settled:
                self._open[place] += 1

    def gone(self, process: Process, board: Board | None, *, interval: float) -> None:
        """Take note of a process's end; with nothing in its commits' way, check that no more repeats than P3 says.

        What was in a handler must be on the board that it left behind.
        """
        told = [] if board is None else board.in_flight
        for place, offset in self._in_hand.pop(process, ()):
            if not any((one.topic, one.partition) == place and one.offset <= offset <= one.last_offset for one in told):
                where = self.named((place, offset))
                self.problem(f"board: {process.name} died with {where} in a handler and not on its board")
        for key in [key for key in self._running if key[0] is process]:
            del self._running[key]
        for ownership in self._ownerships.pop(process, ()):
            if not ownership.is_over and interval:
                self._check_interval(ownership, interval)
            ownership.is_over = True

    # --- retry topics -----------------------------------------------------------------------------------

    def sends_copy(
        self, process: Process, of: Delivered, place: Place, record: tuple[bytes | None, bytes], headers: Headers
    ) -> Copy:
        """Check a copy that a worker sends, and what its headers say of the attempts so far."""
        ownership, offset = of.ownership, of.offset() or 0
        attempts = ownership.attempts[offset]
        copy = self.copies.sends(process, (ownership.place, offset), attempts, place, record)
        where = self.named(copy.of)
        if ours(headers, "attempts") != b"%d" % attempts:
            self.problem(
                f"attempts: a copy of {where} says {ours(headers, 'attempts')!r} and it was begun {attempts} times"
            )
        if record != (of.key(), of.value()):
            self.problem(f"retry: a copy of {where} is another record")
        if offset in ownership.copied:
            self.problem(f"retry: {where} is copied again after its copy was confirmed")
        return copy

    def arrives(self, copy: Copy, offset: int) -> None:
        """Note that a copy is where it should be."""
        self.copies.arrives(copy, offset)
        self.know(copy.place)

    def takes(self, ownership: Ownership, offset: int) -> None:
        """Check that a copy was confirmed that a worker takes for written (P1)."""
        if offset not in ownership.done:
            where = self.named((ownership.place, offset))
            self.problem(f"P1: {ownership.process.name} takes a copy of {where} for written, which nobody confirmed")
        ownership.copied.add(offset)

    def know_all(self, places: Sequence[Place]) -> None:
        """Take note of several partitions."""
        for place in places:
            self.know(place)

    def check_ends(self) -> None:
        """Check that each record came to an end, itself or the last of its copies (P1)."""
        for place, log in self.broker.logs.items():
            for offset in log.offsets:
                if self.copies.is_ours(place, offset) and self.copies.origin(place, offset) not in self.copies.ended:
                    self.problem(f"P1: {self.named((place, offset))} was neither processed nor given up, nor any copy")

    # --- the consumer's watcher ---------------------------------------------------------------------------

    def owns(self, consumer: Any, place: Place, start: int) -> Ownership:
        return Ownership(consumer.process, place, start, self.broker.logs[place].at(start))

    def delivers(self, ownership: Ownership, messages: Sequence[Any]) -> None:
        for message in messages:
            if isinstance(message, Delivered) and not self.copies.is_ours(ownership.place, message.offset() or 0):
                self.settle(ownership, message.offset() or 0, ends=False)

    def gives_up(self, ownership: Ownership, *, lost: bool) -> None:
        ownership.is_over = True

    def last_commit(self, ownership: Ownership | None) -> None:
        if ownership is not None:
            ownership.is_fenced = True

    def sends(self, ownership: Ownership | None, consumer: Any, place: Place, offset: int) -> None:
        where = f"{consumer.process.name} commits {named(place)}@{offset}"
        if ownership is None:
            self.problem(f"P1: {where} of a partition that it does not own")
        elif offset > self._safe(self.broker.logs[place], ownership.first_open):
            log = self.broker.logs[place]
            self.problem(f"P1: {where} beyond {log.offsets[ownership.first_open]}, which it has not settled")

    def problem(self, text: str) -> None:
        self.broken.append(text)
        self.machine.finished = True

    @staticmethod
    def named(where: tuple[Place, int]) -> str:
        return f"{named(where[0])}@{where[1]}"

    # --- inside -----------------------------------------------------------------------------------------

    def _committed(self, place: Place, offset: int) -> None:
        log, first = self.broker.logs[place], self._open[place]
        if offset > self._safe(log, first):
            self.problem(f"P1: {named(place)} was committed to {offset}, {log.offsets[first]} is not settled")
        if offset > log.end:
            self.problem(f"P1: {named(place)} was committed to {offset}, beyond its end {log.end}")
        if offset < self.broker.committed.get(place, 0):
            self.problem(f"P3: {named(place)} was committed back from {self.broker.committed[place]} to {offset}")

    def _check_interval(self, ownership: Ownership, interval: float) -> None:
        long_ago = [offset for when, offset in ownership.settled_at if when < self.machine.now - interval]
        committed = self.broker.committed.get(ownership.place, 0)
        if long_ago and committed < long_ago[-1]:
            self.problem(
                f"P3: {ownership.process.name} died with {named(ownership.place)} committed to {committed}, "
                f"{interval:.2f} s after all before {long_ago[-1]} was settled"
            )

    def _safe(self, log: Log, first_open: int) -> int:
        return log.offsets[first_open] if first_open < len(log.offsets) else log.end

    def _lane(self, place: Place, offset: int, key: bytes | None) -> Hashable:
        if self._ordering is Ordering.NONE or place[0] != SOURCE:
            return (place, offset)
        if self._ordering is Ordering.PARTITION:
            return place
        if key is None:
            return (place, offset)
        return (place, key)

    def _break(self, promise: str, record: Record, text: str) -> None:
        self.problem(f"{promise}: {self.named(((record.topic, record.partition), record.offset))} {text}")
