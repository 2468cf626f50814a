"""What the handlers noted, read back and held against what was produced and what was promised."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

Place = tuple[int, int]
"""Partition and offset in the test's one topic."""


@dataclass(frozen=True, slots=True)
class Line:
    """One note of a handler. ``at`` is the machine's monotonic clock: the same for all processes."""

    word: str
    topic: str
    partition: int
    offset: int
    key: str
    attempt: int
    at: float
    supervisor: str
    slot: int
    incarnation: int
    pid: int

    @property
    def place(self) -> Place:
        """Where the record lies."""
        return self.partition, self.offset


class Ledger:
    """All notes of all processes of a test; files are read on from where the last reading ended."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._lines: list[Line] = []
        self._read: dict[Path, int] = {}

    def open_gate(self, name: str) -> None:
        """Let go on whoever waits at ``gate:name``."""
        (self.folder / name).touch()

    def close_gate(self, name: str) -> None:
        """Have whoever needs ``name`` fail from now on."""
        (self.folder / name).unlink(missing_ok=True)

    def lines(self, word: str | None = None) -> list[Line]:
        """Return the notes so far, oldest first."""
        for file in self.folder.glob("*.ledger"):
            with file.open("rb") as stream:
                stream.seek(self._read.get(file, 0))
                data = stream.read()
            whole = data.rfind(b"\n") + 1
            self._read[file] = self._read.get(file, 0) + whole
            self._lines += [Line(*json.loads(line)) for line in data[:whole].splitlines()]
        self._lines.sort(key=lambda line: line.at)
        return [line for line in self._lines if word is None or line.word == word]

    def places(self, word: str = "done") -> set[Place]:
        """Return every record of which ``word`` was noted."""
        return {line.place for line in self.lines(word)}

    def offsets(self, partition: int, word: str = "done") -> list[int]:
        """Return a partition's offsets in the order they were noted."""
        return [line.offset for line in self.lines(word) if line.partition == partition]

    def repeats(self) -> int:
        """Return how often a record was done that had been done before."""
        counts = Counter(line.place for line in self.lines("done"))
        return sum(counts.values()) - len(counts)


def out_of_order(lines: Iterable[Line], *, by_key: bool) -> list[str]:
    """Return where P2 was broken: a record that began before an earlier one of its lane was done once."""
    began: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)
    done: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)
    for line in lines:
        lane = (line.partition, line.key if by_key else "")
        (began if line.word == "start" else done)[lane].setdefault(line.offset, line.at)
    wrong = []
    for lane, starts in began.items():
        offsets = sorted(starts)
        for earlier, later in pairwise(offsets):
            if done[lane].get(earlier, float("inf")) > starts[later]:
                wrong.append(f"{lane}: {later} began before {earlier} was done")
    return wrong


def side_by_side(lines: Iterable[Line], *, by_key: bool) -> list[str]:
    """Return where one process worked two records of one lane at the same time."""
    busy: dict[tuple[Any, ...], int] = {}
    wrong = []
    for line in lines:
        lane = (line.pid, line.partition, line.key if by_key else "")
        if line.word == "start":
            if lane in busy:
                wrong.append(f"{lane}: {line.offset} began while {busy[lane]} was in its handler")
            busy[lane] = line.offset
        else:
            busy.pop(lane, None)
    return wrong


def shared_slots(lines: Iterable[Line]) -> list[str]:
    """Return where P4 was broken as the ledger shows it: two processes of a slot that worked in turns."""
    spans: dict[tuple[str, int], dict[int, tuple[float, float]]] = defaultdict(dict)
    for line in lines:
        pids = spans[line.supervisor, line.slot]
        first, _ = pids.get(line.pid, (line.at, line.at))
        pids[line.pid] = (first, line.at)
    wrong = []
    for slot, pids in spans.items():
        ordered = sorted((first, last, pid) for pid, (first, last) in pids.items())
        for (_, last, pid), (first, _, other) in pairwise(ordered):
            if first < last:
                wrong.append(f"{slot}: pid {other} began {last - first:.3f} s before pid {pid} ended")
    return wrong
