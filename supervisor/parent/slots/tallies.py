"""What is counted over all incarnations: workers' own counts, their processor time, their ends; and events."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from supervisor.core.events import Event
from supervisor.core.histogram import WAITS, Tally
from supervisor.core.totals import OTHER, GroupTotals, SlotTotals, group_totals, slot_totals, with_letter
from supervisor.core.worker_stats import WorkerStats

MOST_EVENTS = 300
"""Pairs of name and severity told apart; some names come from processes that run user code."""
NOTHING = WorkerStats()

SlotKey = tuple[str, int]


class Tallies:
    """In the parent's loop, one per supervisor. What it hands out are values or copies, for other threads to read."""

    def __init__(self) -> None:
        self.loop_lag = Tally(WAITS)
        self._slots: dict[SlotKey, SlotTotals] = {}
        self._groups: dict[str, GroupTotals] = {}
        self._cpu: dict[SlotKey, float] = {}
        self._exits: dict[tuple[str, str], int] = {}
        self._events: dict[tuple[str, str], int] = {}

    def told(self, key: SlotKey, before: WorkerStats | None, now: WorkerStats) -> None:
        """Add what a worker counted since it last told; ``before`` is ``None`` the first time."""
        if now is before:
            return
        before = before or NOTHING
        self._slots[key] = slot_totals(self._slots.get(key, SlotTotals()), before, now)
        self._groups[key[0]] = group_totals(self._groups.get(key[0], GroupTotals()), before, now)

    def ended(self, key: SlotKey, last: WorkerStats | None, settled: int) -> None:
        """Add what a worker settled, as its board says, and did not live to tell."""
        last = last or NOTHING
        if settled > last.settled:
            self.told(key, last, replace(last, settled=settled))

    def used(self, key: SlotKey, seconds: float) -> None:
        """Add processor time of a worker."""
        self._cpu[key] = self._cpu.get(key, 0.0) + max(0.0, seconds)

    def hear(self, event: Event) -> None:
        """Count an event; listens to the event log."""
        name = (event.name, event.severity.value)
        if name not in self._events and len(self._events) >= MOST_EVENTS:
            name = (OTHER, event.severity.value)
        self._events[name] = self._events.get(name, 0) + 1
        if event.name == "record.dead_lettered" and event.slot is not None:
            key = (event.group, event.slot)
            disposition = str(event.fields.get("disposition", OTHER))
            self._slots[key] = with_letter(self._slots.get(key, SlotTotals()), disposition)
        if event.name == "worker.exited" and event.group:
            kind = (event.group, str(event.fields.get("class", OTHER)))
            self._exits[kind] = self._exits.get(kind, 0) + 1

    def keep(self, slots: Iterable[SlotKey], groups: Iterable[str]) -> None:
        """Forget what is not among these: a series ends with what it is of."""
        slots, groups = set(slots), set(groups)
        for key in self._slots.keys() - slots:
            del self._slots[key]
        for key in self._cpu.keys() - slots:
            del self._cpu[key]
        for name in self._groups.keys() - groups:
            del self._groups[name]
        for pair in [pair for pair in self._exits if pair[0] not in groups]:
            del self._exits[pair]

    @property
    def slots(self) -> Mapping[SlotKey, SlotTotals]:
        """Totals by slot."""
        return MappingProxyType(dict(self._slots))

    @property
    def groups(self) -> Mapping[str, GroupTotals]:
        """Histograms by group."""
        return MappingProxyType(dict(self._groups))

    @property
    def cpu_seconds(self) -> Mapping[SlotKey, float]:
        """Processor time by slot."""
        return MappingProxyType(dict(self._cpu))

    @property
    def exits(self) -> Mapping[tuple[str, str], int]:
        """Ends of workers by group and class."""
        return MappingProxyType(dict(self._exits))

    @property
    def events(self) -> Mapping[tuple[str, str], int]:
        """Events by name and severity."""
        return MappingProxyType(dict(self._events))
