"""One simulated life of a group, from its first member to the last commit: ``live(draw(seed))``."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.core.backoff import Backoff
from supervisor.core.cases import Case
from supervisor.core.exits import ExitCode
from supervisor.core.spec import End
from supervisor.plugin.types import Record
from supervisor.worker.outcomes import Outcomes
from supervisor.worker.turns import Turns
from tests.simulation.breaker import SimBreaker
from tests.simulation.broker import SOURCE, Broker, Log, Place, named
from tests.simulation.classic import ClassicGroup, ClassicMembership
from tests.simulation.client import Delivered, delivered
from tests.simulation.consumer import SimConsumer
from tests.simulation.copies import foreign
from tests.simulation.faults import Faults
from tests.simulation.flood import SimFlood
from tests.simulation.ledger import Ledger
from tests.simulation.machine import BOOT, Killed, Machine, Process, StuckError, Task
from tests.simulation.modern import ModernGroup, ModernMembership
from tests.simulation.parent import Parent
from tests.simulation.producer import stood_for
from tests.simulation.shape import HARMLESS, KINDS, MOSTLY, Shape
from tests.simulation.stand_ins import EPOCH, process_of, stood_in
from tests.simulation.worker import Slot

LOOK = 0.05
PARTS = 6
"""In so many parts come the records that are not there from the beginning."""
MAX_POLL_INTERVAL = 2.5
PATIENCE = 90.0
"""Seconds of the machine's clock that a healed group may take to reach the end and stop."""


class BrokenError(AssertionError):
    """A life in which a promise was broken; its text tells which, and how to see it again."""


@dataclass(frozen=True, slots=True)
class Story:
    """What a life came to."""

    steps: int
    seconds: float
    begun: int
    repeated: int
    copied: int
    copied_again: int
    floods: int
    alone: int
    """Suspects of which it was checked that they began with all committed that was settled."""
    ends: Counter[str]
    trace: str = ""


class Life:
    """The world that slots, broker and ledger share."""

    def __init__(self, shape: Shape, *, traced: bool) -> None:
        self.shape = shape
        self.machine = Machine(shape.seed, preempt=shape.preempt, stall=shape.stall, longest=shape.longest_stall)
        if traced:
            self.machine.trace = []
        self.broker = Broker(self.machine, latency=shape.latency)
        self.group: ClassicGroup | ModernGroup
        if shape.protocol == "classic":
            rebalance_timeout = shape.revoke_timeout + 4.0
            self.group = ClassicGroup(self.broker, session=shape.session, rebalance_timeout=rebalance_timeout)
        else:
            self.group = ModernGroup(self.broker, session=shape.session)
        self.ledger = Ledger(self.machine, self.broker, shape)
        there = shape.places if shape.retries.must_be_made else shape.places + shape.retry_places
        self.broker.logs = {place: Log() for place in there}
        self.ledger.know_all(there)
        self.parent = Parent(max_deaths=shape.max_deaths)
        self.breaker = SimBreaker(self.machine, self.ledger, shape)
        self.flood = SimFlood(self.machine, self.ledger, shape)
        self.slots = [Slot(self, number, self.parent) for number in range(shape.workers)]
        self.sinks_down = self.spoils = False
        self.ends: Counter[str] = Counter()
        self.offered: dict[Task | None, Delivered] = {}
        """Whose dead letter a thread has a sink take."""
        self._kills: Counter[tuple[str, int, int]] = Counter()
        self.consumers: dict[Process, SimConsumer] = {}
        self.is_healed = self.is_ending = False
        self._to_come = shape.records
        self._parts = PARTS

    # --- what slots ask ---------------------------------------------------------------------------------

    def exits(self, process: Process, code: ExitCode, reason: str) -> None:
        """Take note of a process that ends by itself."""
        self.machine.note("exits", process.name, code.name, reason)
        self.ends[code.name] += 1
        consumer = self.consumers.get(process)
        # Who stood still, or waits for a revoke's commit, beyond the deadline of its stop, ends as it can.
        is_held = process.was_frozen or (consumer is not None and consumer.is_committing)
        if not is_held and code not in {ExitCode.OK, ExitCode.FENCED, ExitCode.KAFKA_FATAL, ExitCode.CONFIG}:
            self.ledger.problem(f"{process.name} exits with {code.name}: {reason}")

    def died(self, slot: Slot, code: ExitCode | None) -> None:
        """Have a slot started again as the parent would; a killed process has no ``code``."""
        if code is None:
            self.ends["killed"] += 1
        if self.is_ending or not slot.is_wanted:
            return
        delay = self.machine.chance.choice((0.0, 0.1, 1.5)) if code is None else 0.5
        self.machine.at(delay * self.machine.chance.random(), slot.start)

    def may_kill(self, record: Record) -> bool:
        """Tell whether a record that kills its worker does it once more."""
        where = record.origin
        self._kills[where] += 1
        return self._kills[where] <= 2

    # --- the course of things ---------------------------------------------------------------------------

    def run(self) -> Story:
        """Live it; raise ``BrokenError`` for the first broken promise."""
        shape, machine = self.shape, self.machine
        self._produce(shape.records * 2 // 3 if shape.faults else shape.records)
        chance = machine.chance
        for slot in self.slots:
            machine.at(chance.random() * shape.starting, slot.start)
        faults = Faults(self)
        for fault in shape.faults:
            machine.at(fault.at, faults.befall(fault))
        for _ in range(self._parts if self._to_come else 0):
            machine.at(chance.random() * shape.faults_end, self._produce_a_part)
        machine.at(shape.faults_end, self._heal)
        machine.at(LOOK, self._look)
        limit = BOOT + shape.faults_end + PATIENCE
        trouble = ""
        try:
            with stood_in(machine, self._others()), _quiet():
                try:
                    machine.run(steps=3_000_000 + shape.records * 500 + shape.workers * 20_000, deadline=limit)
                except StuckError as error:
                    trouble = f"no end: {error}; {self._whereabouts()}"
                finally:
                    for slot in self.slots:
                        if slot.process is not None:
                            slot.process.on_death = lambda: None
                            machine.kill(slot.process)
        finally:
            self.consumers.clear()
        broken = self.ledger.broken[:3] or ([trouble] if trouble else [])
        if broken:
            raise BrokenError(self._report(broken))
        return Story(
            machine.steps,
            machine.now - BOOT,
            self.ledger.begun,
            self.ledger.repeated,
            self.ledger.copies.written,
            self.ledger.copies.more_than_one,
            self.flood.turns.count("flood.tripped"),
            self.ledger.alone,
            self.ends,
            "\n".join(machine.trace or ()),
        )

    def _report(self, broken: list[str]) -> str:
        lines = [f"seed {self.shape.seed}: {broken[0]}", *(f"  and: {one}" for one in broken[1:])]
        lines.append(f"  again: python -m tests.simulation --seed {self.shape.seed} --trace")
        lines.append(f"  {self.shape}")
        lines += [f"  {when - BOOT:9.6f} {' '.join(map(str, what))}" for when, what in list(self.machine.recent)[-25:]]
        return "\n".join(lines)

    def _produce(self, count: int) -> None:
        chance, shape = self.machine.chance, self.shape
        is_large = shape.partitions > 100
        for at in range(count):
            kind = chance.choice(HARMLESS) if is_large else chance.choices(KINDS, MOSTLY)[0]
            place: Place = (SOURCE, at % shape.partitions if is_large else chance.randrange(shape.partitions))
            key = None if chance.random() < 0.2 else b"%d" % chance.randrange(4)
            self.broker.logs[place].add(key, kind.encode(), hole=chance.choice((0, 0, 0, 0, 3)))
        self._to_come -= count
        for place in shape.places:
            log = self.broker.logs[place]
            if not self._to_come and log.offsets and chance.random() < 0.3:
                log.end += 1  # a transaction marker
            self.ledger.know(place)
        self._produce_into_retry_topics()
        self.nudge()

    def _produce_into_retry_topics(self) -> None:
        """Put in what others do: another group its copies, and people what is to be tried."""
        chance, shape = self.machine.chance, self.shape
        for place in shape.retry_places if shape.retries.are_shared else ():
            if place not in self.broker.logs or chance.random() < 0.5:
                continue
            log, kind = self.broker.logs[place], chance.choices(KINDS, MOSTLY)[0].encode()
            is_ours = chance.random() < 0.5
            headers = () if is_ours else foreign(due=EPOCH + self.machine.now - BOOT + chance.random())
            self.ledger.copies.put(place, log.add(None, kind, headers=headers), is_ours=is_ours)
            self.ledger.know(place)

    def nudge(self) -> None:
        """Have all consumers look for what came."""
        for consumer in list(self.consumers.values()):
            consumer.nudge()

    def _produce_a_part(self) -> None:
        self._parts -= 1
        self._produce(self._to_come // (self._parts + 1))

    def _heal(self) -> None:
        """End all trouble: from here on the group must reach the end."""
        self.machine.note("healed")
        self.is_healed = True
        self.sinks_down = self.spoils = False
        self.breaker.come_back()
        self.broker.commit_fault = lambda _place, _offset: None
        self.broker.come_back()
        for slot in self.slots:
            slot.is_wanted = True
            if slot.process is not None and slot.process.is_frozen:
                slot.process.thaw()
            slot.start()

    def _look(self) -> None:
        """Look after the group now and then: who does not poll, and whether the end is reached."""
        machine = self.machine
        machine.at(LOOK, self._look)
        self.breaker.look()
        self.flood.look()
        for process, consumer in list(self.consumers.items()):
            if not process.is_alive:
                del self.consumers[process]
            elif process.is_frozen or consumer.in_callback or consumer.is_closed or consumer.is_fatal:
                consumer.last_poll = machine.now
            elif machine.now - consumer.last_poll > MAX_POLL_INTERVAL:
                self.ledger.problem(f"{process.name} did not poll for {MAX_POLL_INTERVAL} s")
        if self.is_healed and not self.is_ending and self._is_at_end():
            machine.note("all done")
            self.ledger.check_ends()
            self.is_ending = self.flood.is_over = True
            for slot in self.slots:
                slot.is_wanted = False
                slot.stop(machine.chance.choice(list(End)))
        if self.is_ending and all(slot.process is None for slot in self.slots):
            machine.finished = True

    def _is_at_end(self) -> bool:
        if self.ledger.left or self._to_come:
            return False
        committed = self.broker.committed
        return all(
            not log.offsets or committed.get(place, 0) > log.offsets[-1] for place, log in self.broker.logs.items()
        )

    def _whereabouts(self) -> str:
        committed = self.broker.committed
        behind = [
            f"{named(place)}: {committed.get(place, 0)} of {log.end}"
            for place, log in self.broker.logs.items()
            if log.offsets and committed.get(place, 0) <= log.offsets[-1]
        ]
        return f"{self.ledger.left} records unsettled, committed {', '.join(behind[:10]) or 'all'}"

    def _others(self) -> dict[str, object]:
        slots = self._slot_of

        def crash(_engine: object, error: BaseException) -> None:
            process = process_of(self.machine)
            if process.is_alive:
                self.ledger.problem(f"{process.name}: the engine crashed: {type(error).__name__}: {error}")
                self.machine.kill(process)
            raise Killed

        send_again = Outcomes.send_again

        def sentence(outcomes: Outcomes, lane: Any) -> None:
            """Know whose letter is offered, and that a convicted record's which was written is settled."""
            message, task = delivered(lane.head[1]), self.machine.current
            if isinstance(lane.letter, Case) and lane.letter.buried and not lane.head[0].revoked:
                self.ledger.settle(message.ownership, message.offset() or 0)
            self.offered[task] = message
            try:
                send_again(outcomes, lane)
            finally:
                del self.offered[task]

        before = Turns.put_back

        def put_back(turns: Turns, lane: Any, *, attempt: int) -> None:
            message = delivered(lane.head[1])
            self.ledger.repeats(message.ownership, message.offset() or 0, attempt)
            before(turns, lane, attempt=attempt)

        return {
            "supervisor.kafka.consumer:Consumer": self._consumer,
            "supervisor.worker.process:load": lambda *_, **__: slots().active(process_of(self.machine)),
            "supervisor.worker.process:other_member": lambda *_: ("elsewhere", "another"),
            "supervisor.worker.process:_spare_the_collector": lambda: None,
            "supervisor.kafka.holes:Holes": lambda *_: self,
            "supervisor.worker.outcomes:SINK_BACKOFF": Backoff(initial=0.02, factor=2.0, max=0.2, jitter=0.5),
            "supervisor.worker.engine:Engine.crash": crash,
            "supervisor.worker.outcomes:Outcomes.send_again": sentence,
            "supervisor.worker.quarantine:topic_ids": lambda _, topics, *__: dict.fromkeys(topics, ""),
            # Sets of them are walked: by their addresses no life would be lived twice.
            "supervisor.worker.owned:Owned.__hash__": lambda owned: int(owned.number),
            "supervisor.worker.turns:Turns.put_back": put_back,
            **stood_for(self),
            **self.flood.stood_for(),
        }

    def find(self) -> set[Place] | None:
        """Answer ``mending``'s question in the place of ``kafka.holes``."""
        assert isinstance(self.group, ClassicGroup)
        return self.group.holes()

    def _slot_of(self) -> Slot:
        process = process_of(self.machine)
        return next(slot for slot in self.slots if slot.process is process)

    def _consumer(self, settings: dict[str, Any], **_: object) -> SimConsumer:
        slot, process = self._slot_of(), process_of(self.machine)
        shape = self.shape
        consumer = SimConsumer(
            self.machine,
            self.broker,
            process,
            self.ledger,
            settings,
            most=shape.most,
            seeks_refused=shape.retries.seeks_refused,
        )
        beat = shape.beat
        if isinstance(self.group, ClassicGroup):
            consumer.membership = ClassicMembership(consumer, consumer, self.group, instance=slot.instance, beat=beat)
        else:
            consumer.membership = ModernMembership(consumer, consumer, self.group, beat=beat)
        slot.consumer = self.consumers[process] = consumer
        return consumer


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def live(shape: Shape, *, traced: bool = False) -> Story:
    """Live one life."""
    return Life(shape, traced=traced).run()
