"""The slot file: one mmap'd file per slot that a worker writes without system calls and anyone may read.

It outlives its writer: after SIGKILL it still says which records were in their handlers. All numbers are
native signed 64-bit words; a word is written at once on the platforms we run on, so a reader sees old or
new and never half. The first word's byte is also where the slot's POSIX lock sits (``parent.locks``).

Layout: ``HEADER_WORDS`` words of header; one cell of ``CELL_WORDS`` words per handler thread; then the
topic names, each ``length (2 bytes, little endian) + UTF-8``, in the order of their indexes.

Write order within a cell is what makes it trustworthy: leaving a record writes ``offset = IDLE`` first,
entering one writes topic and partition before ``offset``; a cell with an offset is complete.
"""

import mmap
from dataclasses import dataclass
from enum import IntEnum

MAGIC = 0x4B53_424F_4152_4431  # "KSBOARD1"
HEADER_WORDS = 32
CELL_WORDS = 8
TOPIC_BYTES = 24 * 1024
IDLE = -1

# header words
H_MAGIC, H_PID, H_INCARNATION, H_TICK_NS, H_WAIT, H_CELLS, H_TOPICS, H_STARTED_NS, H_SETTLED, H_TOPICS_USED = range(10)
H_CANCELS, H_RUNNABLE = 10, 11
# cell words
C_OFFSET, C_TOPIC, C_PARTITION, C_SEQUENCE, C_THREAD, C_UNTIL, C_LAST_OFFSET, C_ATTEMPT = range(8)


_SEQUENCE_BITS = 20


class Wait(IntEnum):
    """The stated reason why a worker settles nothing; ``NONE`` states none, and then it must progress."""

    NONE = 0
    STARTING = 1
    PAUSED = 2
    RETRY = 3
    SINK = 4
    BROKER = 5
    THROTTLED = 6
    EOF = 7
    REVOKING = 8
    UNASSIGNED = 9
    DRAINING = 10
    BUSY = 11
    STOPPED = 12
    BREAKER = 13
    FLOOD = 14


@dataclass(frozen=True, slots=True)
class InFlight:
    """A record in its handler. ``sequence`` grows with each run of its thread; ``last_offset`` ends a batch.

    ``until``: it asked for time up to then (monotonic seconds of this machine), 0 when it did not.
    """

    cell: int
    topic: str
    partition: int
    offset: int
    last_offset: int
    sequence: int
    attempt: int
    thread: int
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Board:
    """What a slot file said at one moment; times are ``time.monotonic_ns()`` of this machine.

    ``cancels``: the worker itself cancels a handler that takes longer than it may. ``runnable``: how many lanes could
    be worked now, or are. ``begun``: grows with each run of any handler thread.
    """

    pid: int
    incarnation: int
    tick_ns: int
    wait: Wait
    started_ns: int
    settled: int
    in_flight: tuple[InFlight, ...]
    cancels: bool = False
    runnable: int = 0
    begun: int = 0


def size(cells: int) -> int:
    """Return the bytes of a slot file with room for ``cells`` handler threads."""
    return (HEADER_WORDS + CELL_WORDS * cells) * 8 + TOPIC_BYTES


class BoardWriter:
    """The worker's end of the slot file. ``words`` is public: hot loops store into it directly.

    Worker process. Cells belong to one thread each; the header to the main thread, except ``H_TICK_NS``
    (whoever polls) and the topic table (whoever polls).
    """

    def __init__(self, memory: mmap.mmap, *, cells: int, pid: int, incarnation: int, now_ns: int) -> None:
        self.words = memoryview(memory).cast("q")
        self.cells = cells
        self._memory = memory
        self._topics: dict[str, int] = {}
        self._topics_at = (HEADER_WORDS + CELL_WORDS * cells) * 8
        words = self.words
        words[H_MAGIC] = 0
        for cell in range(cells):
            words[cell_base(cell) + C_OFFSET] = IDLE
        words[H_PID] = pid
        words[H_INCARNATION] = incarnation
        words[H_TICK_NS] = words[H_STARTED_NS] = now_ns
        words[H_WAIT] = Wait.STARTING
        words[H_CELLS] = cells
        words[H_TOPICS] = words[H_TOPICS_USED] = words[H_SETTLED] = words[H_CANCELS] = words[H_RUNNABLE] = 0
        words[H_MAGIC] = MAGIC

    def topic_index(self, topic: str) -> int:
        """Return the index that stands for ``topic`` in cells, writing its name once; -1 when there is no room."""
        index = self._topics.get(topic)
        if index is None:
            name = topic.encode()
            used = self.words[H_TOPICS_USED]
            if used + 2 + len(name) > TOPIC_BYTES:
                return -1
            at = self._topics_at + used
            self._memory[at : at + 2 + len(name)] = len(name).to_bytes(2, "little") + name
            index = self._topics[topic] = len(self._topics)
            self.words[H_TOPICS_USED] = used + 2 + len(name)
            self.words[H_TOPICS] = index + 1
        return index


def until_word(until: float, sequence: int) -> int:
    """Return a time as the word ``C_UNTIL``, which holds for one ``sequence``: no run has to clear the last one's."""
    return round(until * 1000) << _SEQUENCE_BITS | (sequence & (1 << _SEQUENCE_BITS) - 1)


def until_of(word: int, sequence: int) -> float:
    """Return the time that ``until_word`` was given, 0 when it was for another run."""
    is_its_own = word & (1 << _SEQUENCE_BITS) - 1 == sequence & (1 << _SEQUENCE_BITS) - 1
    return (word >> _SEQUENCE_BITS) / 1000 if is_its_own else 0.0


def cell_base(cell: int) -> int:
    """Return the index of a cell's first word."""
    return HEADER_WORDS + CELL_WORDS * cell


def read_board(data: bytes | mmap.mmap) -> Board | None:
    """Return what a slot file says, or ``None`` when nobody ever wrote it whole.

    A copy is taken first, so that a live writer cannot change it half-way through.
    """
    copy = bytes(data[:])
    whole = len(copy) - len(copy) % 8
    words = memoryview(copy)[:whole].cast("q")
    if len(words) < HEADER_WORDS or words[H_MAGIC] != MAGIC:
        return None
    cells = words[H_CELLS]
    if cells < 0 or len(copy) < size(cells):
        return None
    topics: list[str] | None = None
    in_flight = []
    for cell in range(cells):
        base = cell_base(cell)
        offset, topic = words[base + C_OFFSET], words[base + C_TOPIC]
        if offset == IDLE:
            continue
        if topics is None:  # an idle worker's are not asked for, each second of each worker
            topics = _topics(copy[size(cells) - TOPIC_BYTES :], words[H_TOPICS])
        in_flight.append(
            InFlight(
                cell=cell,
                topic=topics[topic] if 0 <= topic < len(topics) else "?",
                partition=words[base + C_PARTITION],
                offset=offset,
                last_offset=max(offset, words[base + C_LAST_OFFSET]),
                sequence=words[base + C_SEQUENCE],
                attempt=words[base + C_ATTEMPT],
                thread=words[base + C_THREAD],
                until=until_of(words[base + C_UNTIL], words[base + C_SEQUENCE]),
            )
        )
    wait = words[H_WAIT]
    return Board(
        pid=words[H_PID],
        incarnation=words[H_INCARNATION],
        tick_ns=words[H_TICK_NS],
        wait=Wait(wait) if wait in Wait._value2member_map_ else Wait.NONE,
        started_ns=words[H_STARTED_NS],
        settled=words[H_SETTLED],
        in_flight=tuple(in_flight),
        cancels=bool(words[H_CANCELS]),
        runnable=words[H_RUNNABLE],
        begun=sum(words[cell_base(cell) + C_SEQUENCE] for cell in range(cells)),
    )


def _topics(table: bytes, count: int) -> list[str]:
    names: list[str] = []
    at = 0
    while len(names) < count and at < len(table):  # the count may be anything: a crash may have written over it
        length = int.from_bytes(table[at : at + 2], "little")
        names.append(table[at + 2 : at + 2 + length].decode(errors="replace"))
        at += 2 + length
    return names
