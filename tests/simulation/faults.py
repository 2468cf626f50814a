"""What befalls a simulated group: processes that die or stand still, a broker that is away or refuses, moves."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from supervisor.core.spec import End
from tests.simulation.broker import Place
from tests.simulation.parent import Parent
from tests.simulation.shape import CODES, ENDINGS, Fault
from tests.simulation.worker import Slot

if TYPE_CHECKING:
    from tests.simulation.life import Life


class Faults:
    """Has them happen until the group is healed; one method for each kind."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._machine = life.machine
        self._numbers = life.shape.workers
        """The next slot's; no two share a static id but twins."""

    def befall(self, fault: Fault) -> Callable[[], None]:
        """Return what has one of them happen."""

        def happen() -> None:
            if self._life.is_healed:
                return
            self._machine.note("fault", fault.kind, f"{fault.seconds:.3f}")
            getattr(self, f"_{fault.kind}")(fault.seconds)

        return happen

    def _any(self) -> Slot | None:
        alive = [slot for slot in self._life.slots if slot.process is not None]
        return self._machine.chance.choice(alive) if alive else None

    def _kill(self, _seconds: float) -> None:
        slot = self._any()
        if slot is not None and slot.process is not None:
            slot.process.doom = self._machine.chance.choice((1, 10, 100, 300))

    def _freeze(self, seconds: float) -> None:
        slot = self._any()
        if slot is None or slot.process is None:
            return
        process = slot.process
        process.freeze()
        self._machine.at(seconds, lambda: process.thaw() if process.is_alive and process.is_frozen else None)

    def _away(self, seconds: float) -> None:
        self._life.broker.go_away(seconds)
        for consumer in list(self._life.consumers.values()):
            self._machine.at(0.01, partial(consumer.hear, "_TRANSPORT"))

    def _refuse(self, seconds: float) -> None:
        chance = self._machine.chance
        codes = chance.sample(CODES, chance.randrange(1, 4)) + (
            [chance.choice(ENDINGS)] if chance.random() < 0.3 else []
        )
        rate = chance.choice((0.1, 0.5, 1.0))

        def fault(_place: Place, _offset: int) -> str | None:
            return chance.choice(codes) if chance.random() < rate else None

        self._life.broker.commit_fault = fault

        def end() -> None:
            self._life.broker.commit_fault = lambda _place, _offset: None

        self._machine.at(seconds, end)

    def _sinks(self, seconds: float) -> None:
        self._life.sinks_down = True

        def end() -> None:
            self._life.sinks_down = False

        self._machine.at(seconds, end)

    def _spoil(self, seconds: float) -> None:
        """Have every record fail that is worked meanwhile."""
        self._life.spoils = True

        def end() -> None:
            self._life.spoils = False

        self._machine.at(seconds, end)

    def _resume(self, _seconds: float) -> None:
        self._life.flood.resume()

    def _down(self, seconds: float) -> None:
        self._life.breaker.go_down()
        self._life.flood.down()
        self._machine.at(seconds, self._life.breaker.come_back)

    def _join(self, _seconds: float) -> None:
        slot = Slot(self._life, self._numbers, self._life.parent)
        self._numbers += 1
        self._life.slots.append(slot)
        slot.start()

    def _leave(self, seconds: float) -> None:
        self._stop(End.LEAVE, seconds)

    def _keep(self, seconds: float) -> None:
        self._stop(End.KEEP, seconds)

    def _stop(self, end: End, seconds: float) -> None:
        slot = self._any()
        if slot is None or (end is End.LEAVE and len([one for one in self._life.slots if one.process is not None]) < 2):
            return
        slot.stop(end, self._machine.chance.choice((0.5, 1.0, 6.0)))
        if end is End.LEAVE:
            slot.is_wanted = False
            self._machine.at(seconds, lambda: self._want(slot))

    def _want(self, slot: Slot) -> None:
        if not self._life.is_ending and slot in self._life.slots:
            slot.is_wanted = True
            slot.start()

    def _kick(self, _seconds: float) -> None:
        """Have the coordinator forget a member, as it does with one whose session ran out."""
        name = self._machine.chance.choice(list(self._life.group.members) or [""])
        self._life.group.leave(name)

    def _twin(self, seconds: float) -> None:
        """Have another supervisor of the same name start the same slot, and be ended after a while."""
        slot = self._any()
        if slot is None:
            return
        another = Parent(max_deaths=self._life.shape.max_deaths)
        twin = Slot(self._life, slot.number, another, name=f"twin{slot.number}-{len(self._life.slots)}")
        self._life.slots.append(twin)
        twin.start()

        def end() -> None:
            twin.is_wanted = False
            if twin.process is not None:
                self._machine.kill(twin.process)
            self._life.slots.remove(twin)
            self._life.flood.forget(twin)

        self._machine.at(seconds + 0.05, end)
