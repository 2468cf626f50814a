"""What a worker is told of accused records fits into a frame, whatever they left behind."""

import asyncio
from pathlib import Path
from typing import Any, cast

from supervisor.core.docket import Case, Evidence
from supervisor.core.frames import MAX_FRAME, encode
from supervisor.parent.ledger import MOST_LOG, MOST_STACK, Ledger

LEFT = Evidence(-11, "x" * MOST_STACK, "\u00e9" * MOST_LOG)


def answer(tmp_path: Path, cases: int) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        ledger = Ledger(tmp_path, cast("Any", None))
        for offset in range(cases):
            ledger.docket.restore(("orders", "t", 0), offset, Case(deaths=3, convicted=True, evidence=LEFT))
        return ledger.answer("orders", {"ask": 1, "partitions": [["t", 0]]})

    return asyncio.run(ask())


def test_many_convictions_are_all_told_though_not_all_of_their_evidence_has_room(tmp_path: Path) -> None:
    told = answer(tmp_path, 100)

    assert len(encode("accused", **told)) < MAX_FRAME
    assert [offset for _, _, offset, _ in told["convicted"]] == list(range(100))
    assert told["convicted"][0][3]["evidence"]["stack"]
    assert {case["evidence"]["status"] for *_, case in told["convicted"]} == {-11}
