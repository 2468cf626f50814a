"""What lies in retry topics, whatever its headers say; and the checks of what goes in and what comes out."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.core import retry_topics
from supervisor.plugin.types import Record
from tests.simulation.broker import SOURCE, Headers, Place, named
from tests.simulation.machine import Machine, Process
from tests.simulation.shape import FAR, Shape

ROUNDING = 0.0006
"""Seconds: times in headers have three digits."""
Origin = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record of a retry topic: how often its earlier selves were tried, and when it may be begun.

    ``due`` is of the machine's clock, for who reads it with a clock like the writer's, which is ``skew`` fast.
    """

    origin: Origin
    tier: int
    attempts: int = 0
    due: float = 0.0
    skew: float = 0.0
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class Copy:
    """One on its way: of which record, to which partition."""

    of: tuple[Place, int]
    place: Place
    becomes: Waiting


class Copies:
    """The records in retry topics, and their ways there. ``problem`` is told of each promise that was broken."""

    def __init__(self, machine: Machine, shape: Shape, problem: Callable[[str], None]) -> None:
        self._machine = machine
        self._delays = [tier.delay for tier in shape.retries.tiers]
        self._tier_of = {topic: tier for tier, topic in enumerate(shape.retry_topics)}
        self._problem = problem
        self._waiting: dict[tuple[Place, int], Waiting] = {}
        self._written: Counter[tuple[Place, int]] = Counter()
        self.ended: set[Origin] = set()
        """First selves of records that were processed, dead-lettered or dropped in the end, wherever that was."""

    @property
    def written(self) -> int:
        """How many copies there are."""
        return self._written.total()

    @property
    def more_than_one(self) -> int:
        """How many of them are of records that had one already."""
        return self.written - len(self._written)

    def put(self, place: Place, offset: int, *, is_ours: bool = True) -> None:
        """Note that somebody else put a record into a retry topic."""
        self._waiting[place, offset] = Waiting((*place, offset), self._tier_of[place[0]], is_ours=is_ours)

    def origin(self, place: Place, offset: int) -> Origin:
        """Return where a record was first."""
        return (*place, offset) if place[0] == SOURCE else self._waiting[place, offset].origin

    def attempts(self, place: Place, offset: int) -> int:
        """Return how often its earlier selves were tried."""
        return 0 if place[0] == SOURCE else self._waiting[place, offset].attempts

    def is_ours(self, place: Place, offset: int) -> bool:
        """Tell whether a record is for this group."""
        return place[0] == SOURCE or self._waiting[place, offset].is_ours

    def begins(self, process: Process, record: Record) -> None:
        """Check that a record of a retry topic is this group's, is due, and is told where it comes from."""
        waiting = self._waiting[(record.topic, record.partition), record.offset]
        early = waiting.due + min(0.0, waiting.skew - process.skew) - self._machine.now
        where = f"{record.topic}/{record.partition}@{record.offset}"
        if early > ROUNDING:
            self._problem(f"retry: {where} was begun {early:.4f} s before it was due")
        if not waiting.is_ours:
            self._problem(f"retry: {where} is another group's and was begun")
        if record.origin != waiting.origin:
            self._problem(f"retry: {where} was first at {waiting.origin}, not at {record.origin}")

    def sends(
        self, process: Process, of: tuple[Place, int], attempts: int, place: Place, record: tuple[bytes | None, bytes]
    ) -> Copy:
        """Check that a record goes to the tier that it should, after ``attempts`` so far; return its copy."""
        source, offset = of
        at = -1 if source[0] == SOURCE else self._waiting[of].tier
        tier = self._tier_of.get(place[0], -1)
        origin = self.origin(*of)
        last = len(self._delays) - 1
        if tier != (last if record[1] == FAR else at + 1) or tier <= at:
            self._problem(
                f"retry: {named(source)}@{offset} of tier {at} was copied to {place[0]}, which is tier {tier}"
            )
        if place[1] != origin[1]:
            self._problem(f"retry: {named(source)}@{offset} was copied to {named(place)}, first it was at {origin}")
        due = self._machine.now + self._delays[tier]
        return Copy(of, place, Waiting(origin, tier, attempts, due, process.skew))

    def arrives(self, copy: Copy, offset: int) -> None:
        """Note that a copy is in its partition, whoever hears of that."""
        self._waiting[copy.place, offset] = copy.becomes
        self._written[copy.of] += 1


def foreign(*, due: float) -> Headers:
    """Return the headers of another group's copy."""
    copy = retry_topics.Copy("another", SOURCE, 0, 0, None, attempts=1, first_failed_at=due, not_before=due)
    return retry_topics.copy_headers((), copy, error="E")


def ours(headers: Headers, name: str) -> bytes | None:
    """Return one of the headers that a copy has of us."""
    return next((value for key, value in headers if key == f"supervisor.retry.{name}"), None)
