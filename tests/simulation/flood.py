"""The flood guard: the parent's part in it, ``core.flood``'s rules over slots, and checks of the workers'."""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from supervisor.core.flood import Flood, Step, look, order_for, resume, trip
from supervisor.core.flood_window import TRIALS, FloodWindow
from supervisor.core.jsonable import to_json
from supervisor.core.spec import End, FloodAction, FloodOrder, FloodState
from supervisor.plugin.types import Failure
from supervisor.worker.flood import Fate, FloodGuard
from supervisor.worker.verdicts import Judge
from tests.simulation.client import delivered
from tests.simulation.ledger import Ledger
from tests.simulation.machine import Machine, Process
from tests.simulation.shape import Shape
from tests.simulation.stand_ins import process_of

if TYPE_CHECKING:
    from tests.simulation.worker import Slot

LATENCY = 0.002
PATIENCE = 0.5
"""Seconds after which an operator has a group go on that does not by itself."""
MOST_LETTERS = (TRIALS - 1) // 2
"""So many of those that try may become dead letters."""


@dataclass(slots=True)
class Guarded:
    """A worker's guard as seen from outside: by what it answers, and what it was told."""

    state: FloodState = FloodState.NORMAL
    may_flood: bool = False
    """Whether an amnesty was given; nobody looks when it ends."""
    row: int = 0
    """Letters since a record was settled otherwise."""
    letters: int = 0
    """Letters since records try."""
    begun: set[tuple[str, int, int]] = field(default_factory=set)
    """Records begun since the state is what it is."""
    saw_breaker: bool = False
    """Whether those that try had to wait for a dependency: then others try once more."""


class SimFlood:
    """What ``parent.floods`` does; and that nothing floods, nor more is begun than a few records that try."""

    def __init__(self, machine: Machine, ledger: Ledger, shape: Shape) -> None:
        self.turns: list[str] = []
        """The events, in their order."""
        self.is_over = False
        """Whether all is done: nobody starts a stopped group any more."""
        self._machine = machine
        self._ledger = ledger
        self._shape = shape
        self._spec = shape.flood
        self._slots: dict[int, Slot] = {}
        self._flood = Flood()
        self._window = FloodWindow(self._spec, now=machine.now, is_exact=False)
        self._letters = self._others = 0
        self._seen: dict[int, tuple[Process, int, int]] = {}
        self._told: dict[int, FloodOrder] = {}
        self._guards: dict[Process, Guarded] = {}

    # --- the parent ---------------------------------------------------------------------------------------

    def enter(self, key: int, slot: "Slot") -> None:
        self._slots[key] = slot

    def forget(self, slot: "Slot") -> None:
        del self._slots[slot.key]

    def order(self, key: int) -> FloodOrder:
        order = self._told[key] = order_for(self._flood)
        return order

    def heard(self, key: int, process: Process, frame: dict[str, Any]) -> None:
        now = self._machine.now
        match frame["state"]:
            case "tripped":
                self._take(trip(self._flood, str(frame["reason"]), self._spec, by=f"slot {key}", now=now))
            case "passed":
                self._guard(process).state = FloodState.NORMAL
                if self._flood.state is FloodState.HALF_OPEN:
                    self._take(resume(self._flood, by=f"records of slot {key}", now=now))

    def counted(self, key: int, process: Process, stats: dict[str, Any]) -> None:
        """Take a worker's statistics."""
        letters, others = stats["dead_lettered"], max(0, stats["settled"] - stats["dead_lettered"])
        last = self._seen.get(key)
        base = last[1:] if last is not None and last[0] is process else (0, 0)
        self._seen[key] = (process, letters, others)
        self._letters += max(0, letters - base[0])
        self._others += max(0, others - base[1])
        if letters > base[0] and self._spec.is_on and not self._flood.is_tripped:
            reason = self._window.reason(self._letters, self._others, now=self._machine.now)
            if reason:
                self._take(trip(self._flood, reason, self._spec, by="all", now=self._machine.now))

    def look(self) -> None:
        if self._spec.is_on:
            self._window.sample(self._letters, self._others, now=self._machine.now)
            self._take(look(self._flood, self._spec, now=self._machine.now))

    def resume(self) -> None:
        """Go on as an operator says: also where a stopped group is started."""
        if self._flood.stopped and not self.is_over:
            for slot in self._slots.values():
                slot.is_wanted = True
                slot.start()
        self._take(resume(self._flood, by="an operator", now=self._machine.now, amnesty=True))

    def _take(self, step: Step) -> None:
        before, (self._flood, reports) = self._flood, step
        self.turns += [report.name for report in reports]
        if before.is_tripped and not self._flood.is_tripped:
            self._window.clear(self._letters, self._others, now=self._machine.now, amnesty=self._flood.amnesty)
        if self._flood.is_tripped and not before.is_tripped and self._flood.resume_at is None:
            self._machine.at(PATIENCE, self.resume)
        self._tell()
        if self._flood.stopped and not before.stopped:
            for slot in self._slots.values():
                slot.is_wanted = False
                slot.stop(End.LEAVE)

    def _tell(self) -> None:
        order = order_for(self._flood)
        for key, slot in self._slots.items():
            if slot.orders is not None and self._told.get(key, FloodOrder()) != order:
                self._told[key] = order
                self._machine.at(LATENCY, partial(slot.orders.tell, {"type": "flood", "order": to_json(order)}))

    # --- the workers --------------------------------------------------------------------------------------

    def begins(self, process: Process, record: tuple[str, int, int], *, beside: bool) -> None:
        """Check a record that is begun: none is once the guard tripped, few are while some may try."""
        guard = self._guards.get(process)
        if guard is None or guard.state is FloodState.NORMAL or self._spec.action is FloodAction.SHED:
            return
        at_once = self._shape.concurrency * (self._shape.batch_size if self._shape.in_batches else 1)
        is_new = record not in guard.begun
        guard.begun.add(record)
        if guard.state is FloodState.TRIPPED and len(guard.begun) > 2 * at_once + 1:
            self._ledger.problem(f"flood: {process.name} began {len(guard.begun)} records after its guard tripped")
        too_many = len(guard.begun) > TRIALS + at_once and not guard.saw_breaker
        if guard.state is FloodState.HALF_OPEN and is_new and beside and too_many:
            self._ledger.problem(f"flood: {process.name} began more than a few records that may try at once")

    def settled(self, process: Process) -> None:
        """Note that a record became no dead letter."""
        self._guard(process).row = 0

    def down(self) -> None:
        """Note that a dependency is down."""
        for guard in self._guards.values():
            guard.saw_breaker = True

    def stood_for(self) -> dict[str, object]:
        """Return what stands in for what: each answer of a worker's guard is seen, and each order to it."""
        letter, obey, shed = FloodGuard.letter, FloodGuard.obey, Judge.shed

        def judged(guard: FloodGuard) -> Fate:
            process = process_of(self._machine)
            fate = letter(guard)
            self._judged(process, fate)
            return fate

        def obeyed(guard: FloodGuard, order: FloodOrder) -> None:
            process = process_of(self._machine)
            obey(guard, order)
            self._obeyed(self._guard(process), order)

        def dropped(judge: Judge, failure: Failure) -> None:
            message = delivered(failure.record._message)
            if self._spec.action is not FloodAction.SHED:
                self._ledger.problem(f"flood: {failure.record} was shed, and the guard is to {self._spec.action}")
            self._ledger.settle(message.ownership, message.offset() or 0)
            shed(judge, failure)

        return {
            "supervisor.worker.flood:FloodGuard.letter": judged,
            "supervisor.worker.flood:FloodGuard.obey": obeyed,
            "supervisor.worker.verdicts:Judge.shed": dropped,
        }

    def _judged(self, process: Process, fate: Fate) -> None:
        guard = self._guard(process)
        if fate is not Fate.WRITE:
            if guard.state is not FloodState.TRIPPED:
                self._becomes(guard, FloodState.TRIPPED)
            return
        guard.row, guard.letters = guard.row + 1, guard.letters + 1
        consecutive = self._spec.consecutive
        if not self._spec.is_on:
            return
        if guard.state is FloodState.TRIPPED:
            self._ledger.problem(f"flood: {process.name} writes a letter after its guard tripped")
        elif guard.state is FloodState.HALF_OPEN and guard.letters > MOST_LETTERS:
            self._ledger.problem(f"flood: {process.name} writes {guard.letters} letters of those that try")
        # What ends a row ends it here when the handler is done, there when the engine heard of it.
        elif consecutive and not guard.may_flood and guard.row >= 2 * consecutive + self._shape.concurrency:
            self._ledger.problem(f"flood: {process.name} writes {guard.row} letters in a row")

    def _obeyed(self, guard: Guarded, order: FloodOrder) -> None:
        guard.may_flood = guard.may_flood or order.amnesty
        if guard.state is not order.state:
            self._becomes(guard, order.state)

    @staticmethod
    def _becomes(guard: Guarded, state: FloodState) -> None:
        guard.state, guard.row, guard.letters, guard.saw_breaker = state, 0, 0, False
        guard.begun.clear()

    def _guard(self, process: Process) -> Guarded:
        return self._guards.setdefault(process, Guarded())
