"""The binary ledger of ``work.Tally``, cheap enough for a million records, held against what was promised."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.whole.work import BEAT

Beat = tuple[int, int, int, int, float]
NEVER = float("inf")
_SHOWN = 5


@dataclass(slots=True)
class Verdict:
    """What a ledger shows: how many records were done, how often one was done again, and what was broken."""

    done: int = 0
    repeats: int = 0
    lost: list[str] = field(default_factory=list)
    overtaken: list[str] = field(default_factory=list)
    side_by_side: list[str] = field(default_factory=list)


def finished(folder: Path) -> int:
    """Return how many ends of records were noted so far, roughly: repeats count, and what is under way by half."""
    return sum(file.stat().st_size for file in folder.glob("*.tally")) // (2 * BEAT.size)


def judge(folder: Path, ends: dict[int, int]) -> Verdict:
    """Read all of the ledger and hold it against the partitions' ends.

    Lost: never done. Overtaken (P2): a record that began, in any process, before the one before it of its key was
    done once. Side by side (P2): a process that began a record of a key while it was in another one of that key.
    """
    verdict = Verdict()
    began = {partition: array("d", [NEVER]) * end for partition, end in ends.items()}
    done = {partition: array("d", [NEVER]) * end for partition, end in ends.items()}
    keys = {partition: array("l", [-1]) * end for partition, end in ends.items()}
    for file in sorted(folder.glob("*.tally")):
        busy: dict[int, int] = {}
        for is_end, partition, key, offset, at in _beats(file):
            keys[partition][offset] = key
            first = (done if is_end else began)[partition]
            if is_end:
                busy.pop(key, None)
                verdict.repeats += first[offset] < NEVER
            elif (other := busy.get(key)) is not None:
                verdict.side_by_side.append(
                    f"{file.name}: {offset} of key {key} began while {other} was in its handler"
                )
            else:
                busy[key] = offset
            first[offset] = min(first[offset], at)
    for partition, end in ends.items():
        before: dict[int, int] = {}
        for offset in range(end):
            if done[partition][offset] == NEVER:
                verdict.lost.append(f"{partition}@{offset}")
                continue
            verdict.done += 1
            key = keys[partition][offset]
            earlier = before.get(key)
            if earlier is not None and done[partition][earlier] > began[partition][offset]:
                verdict.overtaken.append(f"{partition}@{offset} of key {key} began before {earlier} was done")
            before[key] = offset
    return verdict


def problems(verdict: Verdict) -> list[str]:
    """Return the first of each kind of broken promise."""
    return verdict.lost[:_SHOWN] + verdict.overtaken[:_SHOWN] + verdict.side_by_side[:_SHOWN]


def _beats(file: Path) -> Iterator[Beat]:
    data = file.read_bytes()
    whole = len(data) - len(data) % BEAT.size
    yield from BEAT.iter_unpack(memoryview(data)[:whole])
