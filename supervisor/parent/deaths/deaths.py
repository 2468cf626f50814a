"""What is found out about the deaths of a slot's workers: whom they accuse, and what they left."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from supervisor.core.accusations import NOBODY, Accusation, accuse, crashed_thread, span
from supervisor.core.board import InFlight
from supervisor.core.cases import Record
from supervisor.core.exits import ExitCode
from supervisor.core.progress import Verdict
from supervisor.core.slot import Report, Rung, Slot
from supervisor.parent.deaths.crash import take_evidence, take_stacks
from supervisor.parent.deaths.ledger import Ledger
from supervisor.parent.processes.told import Told

DUMP_TIME = 0.5
"""Seconds after which the stacks that a hung worker was asked for are there."""

Tell = Callable[[Report, dict[str, str]], None]


class Inquest:
    """Looks into the end of each worker of a slot. ``tell`` takes a report and what is attached to it."""

    def __init__(self, slot_file: Path, ledger: Ledger, key: tuple[str, int], tell: Tell) -> None:
        self.evidence: dict[str, str] = {}
        """The stacks and last log lines of the worker that died last."""
        self._file = slot_file
        self._ledger = ledger
        self._key = key
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._given_up: Verdict | None = None
        """What was seen when the worker was taken for hung."""
        self._held: Report | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dumped = ""

    def give_up(self, verdict: Verdict) -> None:
        """Take note that the worker hangs, and in what; only the first word counts."""
        if self._given_up is None:
            self._given_up = verdict

    @property
    def overdue(self) -> list[Record]:
        """What the worker that hangs has in its handlers beyond their time; of batches the first record."""
        return [one[:3] for one in self._given_up.overdue] if self._given_up is not None else []

    def hold(self, report: Report) -> None:
        """Tell that the worker hangs as soon as its stacks are there."""
        self._held = report
        self._timer = self._loop.call_later(DUMP_TIME, self._flush)

    def close(self) -> None:
        """Tell now what is held."""
        self._flush()

    def hold_over(
        self, slot: Slot, status: int, in_flight: Sequence[InFlight], told: Told, *, max_deaths: int
    ) -> tuple[str, bool]:
        """Take what a dead worker left, enter in the ledger whom its death accuses; see ``Ledger.accuse``."""
        self._flush()
        self.evidence = take_evidence(self._file)
        if self._dumped:
            self.evidence.setdefault("stack", self._dumped)
        given_up, self._given_up, self._dumped = self._given_up, None, ""
        if not (slot.ready and max_deaths and in_flight):
            return "", False
        records = [(one.topic, one.partition, one.offset) for one in in_flight]
        accused = self._ledger.docket.accused(self._key[0], records)
        stack = self.evidence.get("stack", "")
        accusation = accusation_of(slot, in_flight, told, stack=stack, given_up=given_up, accused=accused)
        if not accusation:
            return "", False
        return self._ledger.accuse(*self._key, accusation, max_deaths=max_deaths, status=status, found=self.evidence)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        report, self._held, self._timer = self._held, None, None
        if report is not None:
            self._dumped = take_stacks(self._file)
            self._tell(report, {"stack": self._dumped} if self._dumped else {})


def accusation_of(
    slot: Slot,
    in_flight: Sequence[InFlight],
    told: Told,
    *,
    stack: str,
    given_up: Verdict | None,
    accused: set[Record],
) -> Accusation:
    """Return whom a death accuses: nobody, where the worker ended by its own word or by our hand.

    The engine's own crash accuses like any other: it may well be the record that it crashes on.
    """
    is_ours = slot.rung >= Rung.TERM or (told.code is not None and told.code != ExitCode.ENGINE)
    if is_ours and not (slot.hung or slot.heavy):
        return NOBODY
    hung = given_up if slot.hung else None
    return accuse(
        in_flight,
        crashed=None if slot.rung >= Rung.ABORT else crashed_thread(stack),
        overdue=hung.overdue if hung is not None else (),
        responsive=hung is None or hung.responsive,
        proven=[span(one) for one in in_flight if told.was_cancelled(one)],
        accused=accused,
    )
