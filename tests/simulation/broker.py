"""The simulated cluster: logs with holes, committed offsets, and a network whose messages take time and keep order."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from tests.simulation.machine import Machine, Process

Place = tuple[str, int]
Headers = Sequence[tuple[str, bytes | None]]
R = TypeVar("R")
Result = tuple[Place, int, str | None]
SOURCE = "t"
"""The topic that the group is there for; others are its retry topics."""
METADATA_AGE = 2.0
"""Seconds after which clients know of a new topic, whatever else happens."""


class Client(Protocol):
    """Who talks to the broker: one connection, so that what it asks arrives in its order."""

    process: Process
    is_gone: bool
    asked_until: float
    answered_until: float


class Log:
    """One partition: records at growing offsets. ``end`` may lie beyond the last by transaction markers."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.records: list[tuple[bytes | None, bytes, Any]] = []
        self.end = 0

    def add(self, key: bytes | None, value: bytes, *, headers: Headers = (), hole: int = 0) -> int:
        """Append a record behind ``hole`` offsets that hold none."""
        offset = self.end + hole
        self.offsets.append(offset)
        self.records.append((key, value, list(headers) or None))
        self.end = offset + 1
        return offset

    def at(self, offset: int) -> int:
        """Return the index of the first record at or behind an offset."""
        return bisect_left(self.offsets, offset)


class Group(Protocol):
    """A group coordinator, of whichever protocol."""

    def check_commit(self, identity: Any) -> str | None:
        """Return why a member may not commit now."""

    def forgive(self) -> None:
        """Start every member's session anew, as a coordinator does that was away itself."""

    def share_anew(self) -> None:
        """Share out topics that are new."""


class Broker:
    """One broker that is also the group's coordinator. It can be away for a while; nothing is lost by that."""

    def __init__(self, machine: Machine, *, latency: float) -> None:
        self.machine = machine
        self.logs: dict[Place, Log] = {}
        self.committed: dict[Place, int] = {}
        self.group: Group | None = None
        self.is_away = False
        self.commit_fault: Callable[[Place, int], str | None] = lambda _place, _offset: None
        """Return the code with which a partition's commit fails; with ``!`` in front it is applied nevertheless."""
        self.on_committed: Callable[[Place, int], None] = lambda _place, _offset: None
        self._latency = latency
        self._waiting: list[Callable[[], None]] = []

    def ask(self, client: Client, work: Callable[[], R], answer: Callable[[R], None]) -> None:
        """Have the broker do ``work`` when the question arrives, and the client ``answer`` when it is back."""

        def arrive() -> None:
            if self.is_away:
                self._waiting.append(arrive)
                return
            result = work()
            self.tell(client, lambda: answer(result))

        client.asked_until = max(client.asked_until, self.machine.now + self._delay())
        self.machine.at(client.asked_until - self.machine.now, arrive)

    def tell(self, client: Client, message: Callable[[], None]) -> None:
        """Have something reach a client; nothing reaches one that is gone."""

        def arrive() -> None:
            if client.is_gone or not client.process.is_alive:
                return
            if client.process.is_frozen:
                client.process.inbox.append(message)
                return
            message()

        client.answered_until = max(client.answered_until, self.machine.now + self._delay())
        self.machine.at(client.answered_until - self.machine.now, arrive)

    def make(self, places: Sequence[Place]) -> None:
        """Make partitions of a new topic, of which members hear some time."""
        self.logs |= {place: Log() for place in places}
        self.machine.note("made", " ".join(map(named, places)))
        assert self.group is not None
        self.machine.at(METADATA_AGE, self.group.share_anew)

    def go_away(self, seconds: float) -> None:
        """Answer nobody for a while."""
        self.is_away = True
        self.machine.note("broker", "away")
        self.machine.at(seconds, self.come_back)

    def come_back(self) -> None:
        """Take up what waited."""
        if not self.is_away:
            return
        self.is_away = False
        self.machine.note("broker", "back")
        if self.group is not None:
            self.group.forgive()
        waiting, self._waiting = self._waiting, []
        for arrive in waiting:
            arrive()

    def commit(self, identity: Any, offsets: Sequence[tuple[Place, int]]) -> list[Result]:
        """Take a commit as a coordinator does: the member counts, not what it owns."""
        assert self.group is not None
        refused = self.group.check_commit(identity)
        results: list[Result] = []
        for place, offset in offsets:
            code = refused or self.commit_fault(place, offset)
            if code is None or code.startswith("!"):
                self.on_committed(place, offset)
                self.committed[place] = offset
                self.machine.note("committed", named(place), offset, identity[0])
            results.append((place, offset, code.lstrip("!") if code else None))
        return results

    def _delay(self) -> float:
        return self._latency * (0.2 + self.machine.chance.random())


def named(place: Place) -> str:
    """Return what a partition is called where people read of it: those of ``SOURCE`` by their numbers."""
    return str(place[1]) if place[0] == SOURCE else f"{place[0]}/{place[1]}"


def share_out(places: Sequence[Place], members: Sequence[str], owners: dict[Place, str]) -> dict[str, list[Place]]:
    """Return a balanced assignment in which everybody keeps what it may."""
    if not members:
        return {}
    quota, more = divmod(len(places), len(members))
    kept: dict[str, list[Place]] = {member: [] for member in members}
    free: list[Place] = []
    for place in places:
        kept.get(owners.get(place, ""), free).append(place)
    ranked = sorted(members, key=lambda member: (-len(kept[member]), member))
    sizes = [quota + (rank < more) for rank in range(len(ranked))]
    for member, size in zip(ranked, sizes, strict=True):
        free += kept[member][size:]
        del kept[member][size:]
    free.sort(reverse=True)
    for member, size in zip(ranked, sizes, strict=True):
        while len(kept[member]) < size:
            kept[member].append(free.pop())
    return kept
