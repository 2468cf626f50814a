"""The demo's proof: what was produced, against what the handlers wrote down as done."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Place = tuple[int, int]
"""Partition and offset of a record of the demo's one topic."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a ledger: the worker process ``pid`` has worked a record."""

    partition: int
    offset: int
    pid: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, as it lies in the dead-letter topic."""

    partition: int
    offset: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Place:
        """The place of the record that it is a copy of."""
        return int(self.headers.get("supervisor.dlq.partition", -1)), int(self.headers.get("supervisor.dlq.offset", -1))


@dataclass(frozen=True, slots=True)
class Kill:
    """What was known when worker A was killed, and what worker B then did."""

    pid: int
    partition: int
    committed: int
    resumed_at: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Proof:
    """What the demo claims, and the counts that bear it. ``lost`` and ``uncommitted`` are empty when it holds."""

    produced: int
    processed: int
    dead_lettered: int
    duplicates: int
    lost: tuple[str, ...]
    uncommitted: tuple[str, ...]
    kill: Kill
    dead_letter: Letter | None
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything that was claimed is so."""
        return not self.problems


def prove(
    ends: Mapping[int, int],
    entries: Sequence[Entry],
    *,
    letters: Sequence[Letter],
    committed: Mapping[int, int],
    kill: Kill,
    poison: Place,
) -> Proof:
    """Hold every record up to ``ends`` (offsets by partition) against the ledger and the dead letters."""
    produced = {(partition, offset) for partition, end in ends.items() for offset in range(end)}
    worked = Counter((entry.partition, entry.offset) for entry in entries)
    dead = {letter.source for letter in letters}
    lost = tuple(f"{partition}@{offset}" for partition, offset in sorted(produced - set(worked) - dead))
    uncommitted = tuple(
        f"partition {partition}: {committed.get(partition, 0)} of {end}"
        for partition, end in sorted(ends.items())
        if committed.get(partition, 0) != end
    )
    checks = {
        f"records lost: {', '.join(lost[:10])}": not lost,
        f"not committed: {', '.join(uncommitted)}": not uncommitted,
        f"resumed at {kill.resumed_at}, but {kill.committed} was committed": kill.resumed_at == kill.committed,
        f"dead letters: {sorted(dead)}, expected only {poison}": dead == {poison},
        f"the poison record {poison} was also processed": poison not in worked,
        "the ledger names records that were never produced": set(worked) <= produced,
    }
    return Proof(
        produced=len(produced),
        processed=len(worked),
        dead_lettered=len(dead),
        duplicates=sum(worked.values()) - len(worked),
        lost=lost,
        uncommitted=uncommitted,
        kill=kill,
        dead_letter=next((letter for letter in letters if letter.source == poison), None),
        problems=tuple(text for text, holds in checks.items() if not holds),
    )


def read_ledger(folder: Path) -> list[Entry]:
    """Return what all workers have written so far, in each worker's own order."""
    entries = []
    for file in sorted(folder.glob("*.jsonl")):
        # A line without its newline is being written at this moment: the next reading will have it.
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                data = json.loads(line)
                entries.append(Entry(data["partition"], data["offset"], data["pid"]))
    return entries
