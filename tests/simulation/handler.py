"""What users write, of one simulated process: a handler, a policy and a sink that the ledger watches."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from supervisor.plugin.errors import DependencyDownError
from supervisor.plugin.types import Decision, Disposition, Drop, Failure, Letter, Record
from tests.simulation.ledger import Ownership
from tests.simulation.machine import Killed, Process

if TYPE_CHECKING:
    from tests.simulation.worker import Slot, World

SECONDS = {"slow": 0.004, "pause": 0.08, "stuck": 0.9}


class Handler:
    """The hooks of one process."""

    def __init__(self, world: "World", process: Process, slot: "Slot") -> None:
        self._world = world
        self._process = process
        self._slot = slot
        self._machine = world.machine
        self._ledger = world.ledger

    def process(self, record: Record) -> object:
        """Handle one record."""
        self._ledger.begin(self._process, [record], self._slot.told)
        try:
            self._machine.switch_point()
            answer = self._work(record)
        except DependencyDownError:
            self._ledger.uncount([record])
            raise
        else:
            if answer is None:
                self._ledger.settle(_ownership(record), record.offset)
            return answer
        finally:
            self._ledger.leave(self._process, [record])
            self._machine.switch_point()

    def process_batch(self, records: Sequence[Record]) -> list[BaseException | None]:
        """Handle a run of records; what fails is told by its place."""
        records = list(records)
        self._ledger.begin(self._process, records, self._slot.told)
        outcomes: list[BaseException | None] = []
        try:
            for record in records:
                self._machine.switch_point()
                try:
                    self._work(record)
                except Exception as error:  # noqa: BLE001 - the outcome of one record
                    outcomes.append(error)
                else:
                    self._ledger.settle(_ownership(record), record.offset)
                    outcomes.append(None)
            failed = [at for at, outcome in enumerate(outcomes) if outcome is not None]
            down = [at for at in failed if isinstance(outcomes[at], DependencyDownError)]
            # Where others failed beside them, all are tried alone, and only the first in line knows why it failed.
            counted_for_nothing = down if down == failed else [at for at in down if at == failed[0]]
            self._ledger.uncount([records[at] for at in counted_for_nothing])
            return outcomes
        finally:
            self._ledger.leave(self._process, records)
            self._machine.switch_point()

    def policy(self, failure: Failure) -> Decision | None:
        """Drop what asks to be dropped; the rest follows the ``[retry]`` table."""
        self._machine.switch_point()
        record = failure.record
        if record.value != b"drop":
            return None
        self._ledger.settle(_ownership(record), record.offset)
        return Drop("as it asked")

    def sink(self, letter: Letter) -> "Future[None] | None":
        """Take a dead letter: at once, later, never, or not at all."""
        place, offset = (letter.source_topic, letter.source_partition), letter.source_offset
        ownership = self._ledger.of[self._process, place, offset]
        self._check_conviction(letter)
        self._machine.switch_point()
        if self._world.sinks_down:
            raise OSError
        future: Future[None] = Future()

        def answer(delay: float, error: Exception | None) -> Callable[[], None]:
            def run() -> None:
                self._machine.park(delay)
                if error is None:
                    self._ledger.settle(ownership, offset)
                    future.set_result(None)
                else:
                    future.set_exception(error)

            return run

        match self._machine.chance.randrange(8):
            case 0:
                raise OSError
            case 1:
                return future  # no answer ever
            case 2:
                self._machine.spawn(self._process, answer(0.01, OSError()), "sink")
            case 3:
                self._machine.spawn(self._process, answer(0.2, None), "sink")  # too late
            case 4 | 5:
                self._machine.spawn(self._process, answer(0.005, None), "sink")
            case _:
                self._ledger.settle(ownership, offset)
                return None
        return future

    def _work(self, record: Record) -> object:
        kind = (record.value or b"").decode()
        seconds = SECONDS.get(kind)
        if seconds is not None:
            self._machine.park(seconds * (0.5 + self._machine.chance.random()))
        if self._world.breaker.is_down:
            self._world.breaker.refused(self._process)
            raise DependencyDownError(dependency="db")
        match kind:
            case "fails once" if record.attempt == 1:
                raise ValueError
            case "fails twice" if record.attempt <= 2:
                raise ValueError
            case "poison" | "drop":
                raise ValueError
            case "exits" if not self._world.shape.in_batches:
                raise SystemExit
            case "returns" if not self._world.shape.in_batches:
                return 1
            case "kills" if self._world.may_kill(record):
                self._kill(record)
            case "killer" if self._world.shape.max_deaths:
                self._kill(record)
        return None

    def _check_conviction(self, letter: Letter) -> None:
        if letter.disposition is Disposition.WORKER_KILLED:
            place, is_killer = (letter.source_topic, letter.source_partition), letter.value in (b"kills", b"killer")
            wrong = self._slot.parent.wrong(place, letter.source_offset, is_killer=is_killer)
            if wrong:
                self._ledger.problem(f"P1: {wrong}")

    def _kill(self, record: Record) -> None:
        """End the process; sometimes it is known in whose thread."""
        slot, task = self._slot, self._machine.current
        slot.culprit = (record.topic, record.partition, record.offset)
        slot.crashed = task.number if task is not None and self._machine.chance.random() < 0.5 else None
        self._process.doom = 1
        self._machine.switch_point()
        raise Killed


def _ownership(record: Record) -> Ownership:
    message: Any = record._message
    ownership: Ownership = message.ownership
    return ownership
