"""One slot of the simulated group: its processes run the worker's own ``work``, with hooks that the ledger watches."""

import mmap
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, cast

from supervisor.core.backoff import Backoff
from supervisor.core.board import BoardWriter, read_board, size
from supervisor.core.exits import ExitCode
from supervisor.core.spec import (
    BatchSpec,
    BreakerSpec,
    CommitSpec,
    DeadLetterSpec,
    End,
    GroupSpec,
    RetrySpec,
    Then,
    WorkerSpec,
)
from supervisor.link import Link
from supervisor.plugin.active import Active
from supervisor.plugin.types import Record
from supervisor.worker.orders import Orders, Stop
from supervisor.worker.process import work
from tests.simulation.breaker import SimBreaker
from tests.simulation.broker import SOURCE
from tests.simulation.client import Delivered
from tests.simulation.consumer import SimConsumer
from tests.simulation.flood import SimFlood
from tests.simulation.handler import Handler
from tests.simulation.ledger import Ledger
from tests.simulation.machine import Killed, Machine, Process, Task
from tests.simulation.parent import Parent
from tests.simulation.shape import Shape
from tests.worker.direct import group_spec
from tests.worker.in_process import worker_spec

STOP_TIMEOUT = 6.0
PROBE = Backoff(0.05, 2.0, 0.2, 0.25)


class World(Protocol):
    """What a slot needs of the life that it is part of."""

    machine: Machine
    ledger: Ledger
    shape: Shape
    sinks_down: bool
    spoils: bool
    breaker: SimBreaker
    flood: SimFlood
    offered: dict[Task | None, Delivered]

    def exits(self, process: Process, code: ExitCode, reason: str) -> None: ...
    def died(self, slot: "Slot", code: ExitCode | None) -> None: ...
    def may_kill(self, record: Record) -> bool: ...


class SimOrders:
    """What the parent tells: at most the last order counts, and every frame."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._order: Stop | None = None
        self._listener: Task | None = None
        self._frames: list[dict[str, Any]] = []
        self.other: Callable[[dict[str, Any]], None] = lambda _frame: None

    def give(self, order: Stop) -> None:
        self._order = order
        self._wake()

    def tell(self, frame: dict[str, Any]) -> None:
        self._frames.append(frame)
        self._wake()

    def _wake(self) -> None:
        if self._listener is not None:
            self._machine.wake(self._listener)

    def wait(self, timeout: float) -> Stop | None:
        self._machine.switch_point()
        if self._order is None and not self._frames and timeout > 0:
            self._listener = self._machine.current
            self._machine.park(timeout)
            self._listener = None
        frames, self._frames = self._frames, []
        for frame in frames:
            self.other(frame)
        order, self._order = self._order, None
        return order


class SimLink:
    """Takes what is sent: the parent answers and hears what is said of accused records, and of breakers."""

    lost = False

    def __init__(self, slot: "Slot", process: Process) -> None:
        self._machine = slot.world.machine
        self._slot = slot
        self._process = process

    def send(self, kind: str, **members: Any) -> bool:
        slot, process = self._slot, self._process
        if kind == "event":
            self._machine.note("event", members["name"])
            if members["name"] == "accusations.unknown":
                slot.told = None
        elif kind == "breaker":
            self._machine.note("breaker", slot.name, members["state"])
            slot.world.breaker.heard(slot.key, members)
        elif kind == "flood":
            self._machine.note("flood", slot.name, members["state"])
            slot.world.flood.heard(slot.key, process, members)
        elif kind == "stats":
            slot.world.flood.counted(slot.key, process, members["stats"])
        elif kind == "accused":
            answer = slot.parent.answer(members)
            self._machine.at(0.001, lambda: slot.hear(process, answer))
        else:
            if kind == "acquitted" and slot.told is not None:
                slot.told -= {tuple(record) for record in members["records"]}
            slot.parent.hear(kind, members)
        return True

    def flush_until(self, deadline: float) -> None: ...


class Slot:
    """A place in the group for one process at a time."""

    def __init__(self, world: World, number: int, parent: Parent, *, name: str = "") -> None:
        self.world = world
        self.number = number
        self.key = world.breaker.enter(self)
        world.flood.enter(self.key, self)
        """Its name before the breaker; twins have one each."""
        self.name = name or f"w{number}"
        self.process: Process | None = None
        self.consumer: SimConsumer | None = None
        self.orders: SimOrders | None = None
        self.parent = parent
        self.told: set[Any] | None = set()
        """The suspects that its process was told of and has not acquitted; ``None``: it went on without an answer."""
        self.crashed: int | None = None
        """The thread that a fatal signal hit, as far as anybody says."""
        self.culprit: Any = None
        """The record that kills the process."""
        self.skew = world.machine.chance.choice(world.shape.retries.skews)
        self.is_wanted = True
        """Whether it is to be started again when its process ends."""
        self._incarnation = 0
        self._code: ExitCode | None = None
        self._memory: mmap.mmap | None = None
        self._spec = slot_spec(world.shape, number)

    @property
    def instance(self) -> str | None:
        """The static id."""
        return self._spec.instance_id if self.world.shape.is_static else None

    def start(self) -> None:
        """Start the next incarnation, if none lives."""
        if self.process is not None or not self.is_wanted:
            return
        machine = self.world.machine
        self._incarnation += 1
        process = self.process = Process(machine, f"{self.name}.{self._incarnation}")
        process.skew = self.skew
        machine.note("starts", process.name)
        process.on_death = lambda: self._is_dead(process)
        self.told, self.crashed, self.culprit = set(), None, None
        self.orders = SimOrders(machine)
        self._spec = replace(
            self._spec, breaker=self.world.breaker.order(self.key), flood=self.world.flood.order(self.key)
        )
        machine.spawn(process, lambda: self._main(process), "main")

    def stop(self, end: End, timeout: float = STOP_TIMEOUT) -> None:
        """Tell its process to end."""
        if self.orders is not None:
            self.world.machine.note("stop", self.name, end.value)
            self.orders.give(Stop(end, timeout, self.world.machine.now + timeout))

    def hear(self, process: Process, answer: dict[str, Any]) -> None:
        """Have a process hear its parent's answer, when it runs again if it is frozen."""
        if process is not self.process or self.orders is None:
            return
        if process.is_frozen:
            process.inbox.append(lambda: self.hear(process, answer))
            return
        if self.told is not None:
            asked = {(topic, partition) for topic, partition, _, _ in answer["suspects"]}
            self.told = {one for one in self.told if one[:2] not in asked} | {
                (topic, partition, at)
                for topic, partition, runs, _ in answer["suspects"]
                for first, last in runs
                for at in range(first, last + 1)
            }
        self.orders.tell(answer)

    def active(self, process: Process) -> Active:
        """Return the hooks of one process."""
        handler = Handler(self.world, process, self)
        hooks: dict[str, Any] = {
            "send_dead_letter": [("sink", handler.sink)],
            "retry_decision": [("policy", handler.policy)],
            "partitions_assigned": [("watcher", lambda _places: self.world.machine.switch_point())],
        }
        if self.world.shape.in_batches:
            hooks["process_batch"] = [("handler", handler.process_batch)]
        else:
            hooks["process"] = [("handler", handler.process)]
        return Active(hooks)

    def _main(self, process: Process) -> None:
        world, cells = self.world, self._spec.group.concurrency
        before = None if self._memory is None else read_board(self._memory)
        self._memory = self._memory or mmap.mmap(-1, size(cells))
        now_ns = int(world.machine.now * 1e9)
        board = BoardWriter(self._memory, cells=cells, pid=1, incarnation=self._incarnation, now_ns=now_ns)
        link = cast("Link", SimLink(self, process))
        code, reason = ExitCode.ENGINE, "raised"
        try:
            ending = work(self._spec, board, link, cast("Orders", self.orders), before=before)
            code, reason = ending.code, ending.reason
        except Killed:
            raise
        except BaseException as error:
            if not process.is_alive:
                raise Killed from error
            world.ledger.problem(f"{process.name} raised {type(error).__name__}: {error}")
        world.exits(process, code, reason)
        self._code = code
        world.machine.kill(process)

    def _is_dead(self, process: Process) -> None:
        if self.consumer is not None and self.consumer.process is process:
            self.consumer.is_gone = True
            self.consumer = None
        board = None if self._memory is None else read_board(self._memory)
        if self._code is None and board is not None and board.incarnation == self._incarnation:
            self.parent.died(board, culprit=self.culprit, thread=self.crashed)
        self.world.ledger.gone(process, board, interval=interval_of(self.world.shape))
        self.process = self.orders = None
        self.world.breaker.look()
        code, self._code = self._code, None
        self.world.died(self, code)


def interval_of(shape: Shape) -> float:
    """Return within how many seconds all that was settled must be committed; 0 where commits may be held up."""
    return shape.commit_interval + 3.0 if shape.is_gentle and shape.patient else 0.0


def slot_spec(shape: Shape, number: int) -> WorkerSpec:
    """Return what the slot's processes are told."""
    group: GroupSpec = group_spec(
        "nowhere",
        "g",
        (SOURCE,),
        "none",
        protocol=shape.protocol,
        ordering=shape.ordering,
        concurrency=shape.concurrency,
        max_gap=shape.max_gap,
        queue_records=shape.queue_records,
        revoke_timeout=shape.revoke_timeout,
        retry=RetrySpec(
            shape.attempts,
            Backoff(0.02, 2.0, 0.1, 0.5),
            then=Then.TOPIC if shape.retries.tiers else Then.DEAD_LETTER,
            tiers=shape.retries.tiers,
        ),
        dead_letters=DeadLetterSpec("sink", "", "dlq", 0.05),
        commit=CommitSpec(shape.commit_mode, shape.commit_count, shape.commit_interval),
        batch=BatchSpec(shape.batch_size, shape.batch_age),
        max_deaths=shape.max_deaths,
        breaker=BreakerSpec(probe=PROBE),
        flood=shape.flood,
    )
    spec = worker_spec(group)
    return WorkerSpec(**{name: getattr(spec, name) for name in spec.__slots__} | {"slot": number, "state_dir": "."})
