"""What a peer's program is told, and how it shows its progress. It runs in the peer's own environment: stdlib only.

A program is started as ``python -P PROGRAM JSON``, joins the group, works records with ``sleep`` seconds in each
handler, and goes on until it is killed. Progress is a file of 64-bit words in memory, one per thread, whose sum is the
number of records done: whoever looks needs nothing of the program, and a record costs it one store.
"""

import itertools
import json
import mmap
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

WORDS = 64
ALARM = 180
"""Seconds after which the kernel ends a program that nobody killed."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a peer."""

    bootstrap: str
    topic: str
    group: str
    progress: str
    variant: str
    sleep: float
    concurrency: int
    client: dict[str, str | int | float | bool]
    """librdkafka's settings that have to do with speed, for the peers that take them; all others are the peer's own."""

    def argument(self) -> str:
        """Return this as a program's one argument."""
        return json.dumps(asdict(self))


class Tally:
    """Counters of records done. A thread that counts takes a word of its own once and adds to it."""

    def __init__(self, path: Path) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(bytes(8 * WORDS))
        new.rename(path)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.words = memoryview(self._memory).cast("q")
        self._next = itertools.count()

    def word(self) -> int:
        """Return the index of a word that nobody else has."""
        return next(self._next)


def begin() -> tuple[Task, Tally]:
    """Return what this process was told, and where to count; bound its life."""
    signal.alarm(ALARM)
    task = Task(**json.loads(sys.argv[1]))
    return task, Tally(Path(task.progress))
