"""Load, random kills and the verdict over the ledger: what the chaos tests have in common."""

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from tests.broker.real import RealBroker
from tests.broker.records import committed, end_offsets, produce
from tests.whole.ledger import Ledger, Place, out_of_order, shared_slots, side_by_side
from tests.whole.program import Program

T = TypeVar("T")

PARTITIONS = 6
KEYS = 50

OPTIONS = """
workers = {workers}
ordering = "{ordering}"
concurrency = {concurrency}
max_gap = 500
restart.initial = "100ms"
restart.max = "300ms"
restart.half_open_after = 0
"""


def load(broker: RealBroker, topic: str, records: int, *, takes: float) -> set[Place]:
    """Fill ``topic`` with keyed records that keep their handler busy for ``takes`` seconds; return all places."""
    key = [b"key-%d" % number for number in range(KEYS)]
    produce(broker.bootstrap, topic, [f"sleep:{takes}"] * records, key=lambda at: key[at * 7 % KEYS])
    return {
        (partition, offset) for partition, end in end_offsets(broker.bootstrap, topic).items() for offset in range(end)
    }


def strike_until(
    left: Callable[[], int], strike: Callable[[], T], rng: random.Random, *, pause: float, timeout: float
) -> list[T]:
    """Call ``strike`` at random moments, on average ``pause`` seconds apart, until nothing is ``left``.

    Returns what the strikes returned.
    """
    deadline = time.monotonic() + timeout
    strikes: list[T] = []
    while True:
        until = time.monotonic() + pause * rng.uniform(0.3, 1.7)
        while time.monotonic() < until:
            missing = left()
            if not missing:
                return strikes
            assert time.monotonic() < deadline, f"{missing} left after {timeout:g} s and {len(strikes)} strikes"
            time.sleep(0.1)
        strikes.append(strike())


class SlotWatch:
    """Looks many times a second how many processes each slot has; ``crowds`` names each time it was more than one."""

    def __init__(self, program: Program) -> None:
        self.crowds: list[str] = []
        self.looks = 0
        self.seen: set[str] = set()
        self._program = program
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="slot-watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.looks += 1
            for slot, pids in self._program.slot_processes().items():
                self.seen.add(slot)
                if len(pids) > 1:
                    self.crowds.append(f"{slot}: {pids}")


def judge(ledger: Ledger, places: set[Place], *, by_key: bool) -> None:
    """Hold the ledger against the promises: nothing lost, order kept, one process per slot at any time."""
    lines = ledger.lines()
    lost = places - ledger.places()
    assert not lost, f"{len(lost)} records lost: {sorted(lost)[:10]}"
    assert ledger.places() <= places
    assert out_of_order(lines, by_key=by_key) == []
    assert side_by_side(lines, by_key=by_key) == []
    assert shared_slots(lines) == []


def all_committed(broker: RealBroker, name: str) -> bool:
    """Tell whether the group's commits have reached the end of the topic of its name."""
    return committed(broker.bootstrap, name, name) == end_offsets(broker.bootstrap, name)
