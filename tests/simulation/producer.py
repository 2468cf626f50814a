"""What stands in for the worker's producer and for the admin client that makes retry topics; and what they meet."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from supervisor.core.backoff import Backoff
from supervisor.core.retry_topics import RetryTopic
from supervisor.kafka.admin import AdminError
from supervisor.kafka.producer import ProduceError
from supervisor.kafka.retry_topics import Look
from supervisor.worker.copies import Copies
from supervisor.worker.outlet import Outbox
from tests.simulation.broker import Broker, Headers
from tests.simulation.client import delivered
from tests.simulation.flood import SimFlood
from tests.simulation.ledger import Ledger
from tests.simulation.machine import Machine, Process
from tests.simulation.shape import Shape
from tests.simulation.stand_ins import process_of

if TYPE_CHECKING:
    from supervisor.core.lane import Lane
    from supervisor.worker.copies import PendingCopy

LATE = 0.2
FATES = ("is late", "fails", "fails, and is there", "is silent", "is silent, and is there", "is refused", "raises")
THERE = {"", "is late", "fails, and is there", "is silent, and is there"}
CODES = {"fails": "_MSG_TIMED_OUT", "fails, and is there": "REQUEST_TIMED_OUT", "is refused": "MSG_SIZE_TOO_LARGE"}


class World(Protocol):
    """What they need of the life that they are part of."""

    machine: Machine
    broker: Broker
    ledger: Ledger
    shape: Shape
    sinks_down: bool
    is_healed: bool
    flood: SimFlood

    def nudge(self) -> None: ...


class SimProducer:
    """The producer of one process. What it sends may come late, or never, or come and be said to have failed."""

    def __init__(self, world: World, process: Process) -> None:
        self.process = process
        self.is_gone = False
        self.asked_until = self.answered_until = 0.0
        self.message: Any = None
        """The record of which the next one is a copy."""
        self._world = world
        self._machine = world.machine
        self._chance = world.machine.chance

    def __call__(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int = -1,
        timestamp: float | None = None,
    ) -> "Future[None]":
        machine, ledger = self._machine, self._world.ledger
        message, self.message = self.message, None
        place, ownership = (topic, partition), message.ownership
        copy = ledger.sends_copy(self.process, message, place, (key, value), headers)
        machine.switch_point()
        fate = self._fate()
        if fate == "raises":
            raise BufferError
        future: Future[None] = Future()

        def arrive() -> None:
            if fate in THERE:
                log = self._world.broker.logs[place]
                offset = log.add(key, value, headers=headers, hole=self._chance.choice((0, 0, 0, 3)))
                log.end += self._chance.choice((0, 0, 0, 1))  # a transaction marker
                machine.note("copied", ledger.named(copy.of), ledger.named((place, offset)), fate)
                ledger.arrives(copy, offset)
                self._world.nudge()
            self._perhaps_kill()

        def answer(_: None) -> None:
            if not fate.startswith("is silent"):
                machine.spawn(self.process, report, "delivery")

        def report() -> None:
            if fate == "is late":
                machine.park(LATE)
            if fate in CODES:
                future.set_exception(ProduceError(CODES[fate], "simulated"))
                return
            ledger.settle(ownership, copy.of[1], ends=False, late=fate == "is late")
            self._world.flood.settled(self.process)
            future.set_result(None)
            self._perhaps_kill()

        self._world.broker.ask(self, arrive, answer)
        return future

    def close(self, _timeout: float) -> None: ...

    def _fate(self) -> str:
        world = self._world
        if world.sinks_down:
            return self._chance.choice(("fails", "is silent", "raises"))
        if world.is_healed or self._chance.random() >= world.shape.retries.trouble:
            return ""
        return self._chance.choice(FATES)

    def _perhaps_kill(self) -> None:
        """Have the process die about now: a copy is there, and the offset of its record is not committed."""
        world = self._world
        if not world.is_healed and self._chance.random() < world.shape.retries.kills:
            self.process.doom = self._chance.choice((1, 5, 20))


class SimMaker:
    """``kafka.retry_topics.RetryTopicMaker``; its answers take their time, and do not always come."""

    def __init__(self, world: World) -> None:
        self._world = world

    def look(self, wanted: Mapping[str, RetryTopic]) -> Look:
        """See the original."""
        world, chance = self._world, self._world.machine.chance
        world.machine.park(0.01 * chance.random())
        if world.broker.is_away or (not world.is_healed and chance.random() < world.shape.retries.trouble):
            message = "nobody answers"
            raise AdminError(message)
        found = Look()
        for name in wanted:
            places = [(name, number) for number in range(world.shape.partitions)]
            if places[0] in world.broker.logs:
                found.there.add(name)
            elif not world.is_healed and chance.random() < world.shape.retries.trouble:
                found.refused[name] = "POLICY_VIOLATION"
            else:
                world.broker.make(places)
                world.ledger.know_all(places)
                found.made[name] = len(places)
        return found


def stood_for(world: World) -> dict[str, object]:
    """Return what stands in for what. The producer is told whose copy it sends, the ledger what counts as written."""
    copy, written = Outbox.copy, Copies._written

    def copied(outbox: Outbox, owned: Any, message: Any, *more: Any) -> "Future[None] | None":
        producer: Any = outbox._send
        producer.message = delivered(message)
        return copy(outbox, owned, message, *more)

    def taken(copies: Copies, lane: "Lane[Any]", pending: "PendingCopy") -> None:
        message = delivered(lane.head[1])
        world.ledger.takes(message.ownership, message.offset() or 0)
        written(copies, lane, pending)

    return {
        "supervisor.worker.process:lazy_producer": lambda _spec: SimProducer(world, process_of(world.machine)),
        "supervisor.kafka.retry_topics:RetryTopicMaker": lambda *_, **__: SimMaker(world),
        "supervisor.worker.outlet:Outbox.copy": copied,
        "supervisor.worker.copies:Copies._written": taken,
        "supervisor.worker.copies:BACKOFF": Backoff(initial=0.02, factor=2.0, max=0.2, jitter=0.5),
    }
