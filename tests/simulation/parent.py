"""The parent's part in a simulated life: whom deaths accuse, who is told, and that only the guilty are convicted."""

from collections import Counter
from typing import Any

from supervisor.core.accusations import accuse
from supervisor.core.board import Board
from supervisor.core.cases import Case, Evidence, Record, runs_of
from supervisor.core.docket import Docket
from supervisor.core.jsonable import to_json
from tests.simulation.broker import Place, named

GROUP = "g"


class Parent:
    """One host's ledger, which is never lost, and the truth beside it: who really killed."""

    def __init__(self, *, max_deaths: int) -> None:
        self.docket = Docket()
        self.max_deaths = max_deaths
        self.foreign: Counter[Record] = Counter()
        """Deaths that counted against a record though it did nothing: somebody killed its worker while it ran alone."""

    def died(self, board: Board | None, *, culprit: Record | None, thread: int | None) -> None:
        """Take a death of which ``culprit`` is guilty; ``thread`` is what faulthandler said, if it said anything."""
        if board is None or not board.in_flight or not self.max_deaths:
            return
        records = [(one.topic, one.partition, one.offset) for one in board.in_flight]
        known = self.docket.accused(GROUP, records)
        accusation = accuse(board.in_flight, crashed=thread, accused=known)
        if accusation.named is not None and accusation.named != culprit:
            self.foreign[accusation.named] += 1
        self.docket.accuse(GROUP, accusation, Evidence(-9), max_deaths=self.max_deaths, now=0.0)

    def answer(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Return what a worker that asks is told."""
        suspects, convicted = [], []
        for place in frame["partitions"]:
            cases = self.docket.of(GROUP, place)
            suspects.append([*place, runs_of(at for at, case in cases.items() if not case.convicted), []])
            convicted += [[*place, at, to_json(case)] for at, case in cases.items() if case.convicted]
        return {"type": "accused", "ask": frame["ask"], "suspects": suspects, "convicted": convicted}

    def hear(self, kind: str, frame: dict[str, Any]) -> None:
        """Take what a worker says of accused records."""
        records = [tuple(record) for record in frame.get("records", ())]
        if kind == "acquitted":
            self.docket.acquit(GROUP, records)
        elif kind == "buried":
            self.docket.bury(GROUP, records)

    def wrong(self, place: Place, offset: int, *, is_killer: bool) -> str:
        """Say what is wrong with a conviction; nothing, where it is guilty or was unlucky often enough."""
        case = self.docket.of(GROUP, place).get(offset, Case())
        if is_killer or self.foreign[(*place, offset)] >= self.max_deaths:
            return ""
        return f"{named(place)}@{offset} was convicted after {case.deaths} deaths, and is innocent"
