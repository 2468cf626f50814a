"""What a worker is told of accused records, in as many frames as it takes. Pure.

Convictions come first: who is not told of one lets it kill on. A suspect that nobody was told of runs like any other.
"""

import json
from collections.abc import Mapping, Sequence

from supervisor.core.cases import Case, Place, runs_of
from supervisor.core.jsonable import to_json

PART = 256 * 1024
"""Bytes from which on a frame is sent."""
MOST_EVIDENCE = 512 * 1024
"""Bytes of evidence in one answer, as they are sent; convictions beyond it come without."""
RUNS = 1000
"""Runs of offsets that are put into a frame together."""

Cases = Sequence[tuple[Place, Mapping[int, Case]]]
Runs = Sequence[Sequence[int]]
Members = dict[str, object]


def accused_frames(ask: int, cases: Cases, *, room: int) -> tuple[list[Members], int]:
    """Return the members of the ``accused`` frames that answer a question, and how many cases were left out.

    They take ``room`` bytes at most. The last one bears the question's number, the others 0.
    """
    parts, evidence = _Parts(room), MOST_EVIDENCE
    for place, of_place in cases:
        for offset, case in of_place.items():
            if case.convicted:
                told: Members = to_json(case)
                size = 0 if case.buried else _size(told)
                if case.buried or size > evidence:
                    told, size = {**told, "evidence": {"status": case.evidence.status}}, 0
                evidence -= size
                parts.add(place, of_place, [], [[*place, offset, told]])
    for place, of_place in cases:
        runs = runs_of(offset for offset, case in of_place.items() if not case.convicted)
        for at in range(0, len(runs), RUNS):
            parts.add(place, of_place, runs[at : at + RUNS], [])
    parts.made[-1]["ask"] = ask
    return parts.made, parts.left_out


class _Parts:
    """Frames as they fill; each says of the partitions in it which ids their topics had."""

    def __init__(self, room: int) -> None:
        self.made: list[Members] = []
        self.left_out = 0
        self._room = room
        self._begin()

    def add(self, place: Place, cases: Mapping[int, Case], runs: Runs, convicted: Sequence[object]) -> None:
        """Put what is told of a partition into the last frame, or into a new one, while there is room."""
        size = _size(runs) + _size(convicted)
        if size > self._room:
            self.left_out += len(convicted) + sum(last - first + 1 for first, last in runs)
            return
        if self._size + size > PART:
            self._begin()
        row = self._rows.get(place)
        if row is None:
            ids = sorted({case.topic_id for case in cases.values()} - {""})
            row = self._rows[place] = []
            self._suspects.append([*place, row, ids])
            size += _size([*place, ids])
        row += runs
        self._convicted += convicted
        self._size += size
        self._room -= size

    def _begin(self) -> None:
        self._suspects: list[object] = []
        self._convicted: list[object] = []
        self._rows: dict[Place, list[Sequence[int]]] = {}
        self._size = 0
        self.made.append({"ask": 0, "suspects": self._suspects, "convicted": self._convicted})


def _size(told: object) -> int:
    return len(json.dumps(told))
