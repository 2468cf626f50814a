"""A dependency that goes down and comes back, and the parent's part in it: ``core.breaker``'s rules over slots."""

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from supervisor.core.breaker import Breaker, Group, Step, heard_down, heard_nothing, heard_up, look, order_for
from supervisor.core.jsonable import to_json
from supervisor.core.spec import BreakerOrder
from tests.simulation.ledger import Ledger
from tests.simulation.machine import Machine, Process
from tests.simulation.shape import Shape

if TYPE_CHECKING:
    from tests.simulation.worker import Slot

PATIENCE = 5.0
SHORTEST = 0.03
"""No two probes of a worker are nearer to each other than this, in seconds."""
LATENCY = 0.002


class SimBreaker:
    """What ``parent.slots.breakers`` does, and a check: few records are begun while the dependency is down."""

    def __init__(self, machine: Machine, ledger: Ledger, shape: Shape) -> None:
        self.is_down = False
        self.turns: list[str] = []
        """The events, in their order."""
        self._machine = machine
        self._ledger = ledger
        self._shape = shape
        self._slots: dict[int, Slot] = {}
        self._breaker = Breaker()
        self._told: dict[int, BreakerOrder] = {}
        self._down_since = 0.0
        self._refused: Counter[Process] = Counter()

    # --- the dependency -----------------------------------------------------------------------------------

    def go_down(self) -> None:
        if not self.is_down:
            self.is_down, self._down_since = True, self._machine.now
            self._refused.clear()

    def come_back(self) -> None:
        self.is_down = False

    def refused(self, process: Process) -> None:
        """Check a record that was begun for nothing: in flight when it went down, or one probe after the other."""
        self._refused[process] += 1
        at_once = self._shape.concurrency * (self._shape.batch_size if self._shape.in_batches else 1)
        probes = (self._machine.now - self._down_since) / SHORTEST
        if self._refused[process] > 2 * at_once + probes + 1:
            self._ledger.problem(f"{process.name} began {self._refused[process]} records while the dependency was down")

    # --- the parent ---------------------------------------------------------------------------------------

    def enter(self, slot: "Slot") -> int:
        key = len(self._slots)
        self._slots[key] = slot
        return key

    def order(self, key: int) -> BreakerOrder:
        order = self._told[key] = order_for(self._breaker, key, now=self._machine.now)
        return order

    def heard(self, key: int, frame: dict[str, Any]) -> None:
        now = self._machine.now
        match frame["state"]:
            case "down":
                self._take(
                    heard_down(
                        self._breaker,
                        key,
                        frame["name"],
                        failures=frame["failures"],
                        after=frame["after"],
                        patience=PATIENCE,
                        now=now,
                    )
                )
            case "up":
                self._take(heard_up(self._breaker, by=str(key), now=now))
            case "nothing":
                idle = frame["idle"]
                self._take(heard_nothing(self._breaker, key, self._group(), idle=idle, patience=PATIENCE, now=now))

    def look(self) -> None:
        self._take((look(self._breaker, self._group(), patience=PATIENCE, now=self._machine.now), ()))

    def _group(self) -> Group:
        present = [key for key, slot in self._slots.items() if slot.process is not None and not slot.process.is_frozen]
        return Group(all=list(self._slots), present=present)

    def _take(self, step: Step) -> None:
        self._breaker, reports = step
        self.turns += [report.name for report in reports]
        for key, slot in self._slots.items():
            order = order_for(self._breaker, key, now=self._machine.now)
            before = self._told.get(key, BreakerOrder())
            if slot.orders is None or (order.is_open, order.probes) == (before.is_open, before.probes):
                continue
            self._told[key] = order
            self._machine.at(LATENCY, partial(slot.orders.tell, {"type": "breaker", "order": to_json(order)}))
