"""What users write, of one simulated process: a handler, a policy and a sink that the ledger watches."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from math import inf
from typing import TYPE_CHECKING

from supervisor.plugin.errors import DependencyDownError
from supervisor.plugin.types import Decision, Disposition, Drop, Failure, Letter, Record, RetryTopic
from tests.simulation.broker import Place
from tests.simulation.client import delivered
from tests.simulation.machine import Killed, Process
from tests.simulation.shape import FAR

if TYPE_CHECKING:
    from tests.simulation.worker import Slot, World

SECONDS = {"slow": 0.004, "pause": 0.08, "stuck": 0.9}
FAIL = {"fails once": 1, "fails twice": 2, "fails often": 4, "poison": inf, "drop": inf, "far": inf}
"""How many attempts fail."""


class Handler:
    """The hooks of one process."""

    def __init__(self, world: "World", process: Process, slot: "Slot") -> None:
        self._world = world
        self._process = process
        self._slot = slot
        self._machine = world.machine
        self._ledger = world.ledger
        self._longest = max((tier.delay for tier in world.shape.retries.tiers), default=1.0)

    def process(self, record: Record) -> object:
        """Handle one record."""
        self._begin([record])
        try:
            self._machine.switch_point()
            answer = self._work(record)
        except DependencyDownError:
            self._ledger.uncount([record])
            raise
        else:
            if answer is None:
                self._settle(record)
            return answer
        finally:
            self._ledger.leave(self._process, [record])
            self._machine.switch_point()

    def process_batch(self, records: Sequence[Record]) -> list[BaseException | None]:
        """Handle a run of records; what fails is told by its place."""
        records = list(records)
        self._begin(records)
        outcomes: list[BaseException | None] = []
        try:
            for record in records:
                self._machine.switch_point()
                try:
                    self._work(record)
                except Exception as error:  # noqa: BLE001 - the outcome of one record
                    outcomes.append(error)
                else:
                    self._settle(record)
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

    def _begin(self, records: Sequence[Record]) -> None:
        is_beside = self._ledger.is_working(self._process)
        self._ledger.begin(self._process, records, self._slot.told)
        for record in records:
            where = (record.topic, record.partition, record.offset)
            self._world.flood.begins(self._process, where, beside=is_beside)

    def policy(self, failure: Failure) -> Decision | None:
        """Drop what asks to be dropped, have wait long what asks for that; the rest follows the ``[retry]`` table."""
        self._machine.switch_point()
        record = failure.record
        if record.value == FAR:
            return RetryTopic(after=self._longest)
        if record.value != b"drop":
            return None
        self._settle(record)
        return Drop("as it asked")

    def sink(self, letter: Letter) -> "Future[None] | None":
        """Take a dead letter: at once, later, never, or not at all."""
        message = self._world.offered[self._machine.current]
        ownership, offset = message.ownership, message.offset() or 0
        self._check_letter(letter, ownership.place, offset)
        self._machine.switch_point()
        if self._world.sinks_down:
            raise OSError
        future: Future[None] = Future()

        def answer(delay: float, error: Exception | None) -> Callable[[], None]:
            def run() -> None:
                self._machine.park(delay)
                if error is None:
                    self._ledger.settle(ownership, offset, late=True)
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

    def _settle(self, record: Record) -> None:
        self._ledger.settle(delivered(record._message).ownership, record.offset)
        self._world.flood.settled(self._process)

    def _work(self, record: Record) -> object:
        kind = (record.value or b"").decode()
        seconds = SECONDS.get(kind)
        if seconds is not None:
            self._machine.park(seconds * (0.5 + self._machine.chance.random()))
        if self._world.breaker.is_down:
            self._world.breaker.refused(self._process)
            raise DependencyDownError(dependency="db")
        if self._world.spoils or record.attempt <= FAIL.get(kind, 0):
            raise ValueError
        match kind:
            case "exits" if not self._world.shape.in_batches:
                raise SystemExit
            case "returns" if not self._world.shape.in_batches:
                return 1
            case "kills" if self._world.may_kill(record):
                self._kill(record)
            case "killer" if self._world.shape.max_deaths:
                self._kill(record)
        return None

    def _check_letter(self, letter: Letter, place: Place, offset: int) -> None:
        source = (letter.source_topic, letter.source_partition, letter.source_offset)
        if source != self._ledger.copies.origin(place, offset):
            self._ledger.problem(
                f"retry: the letter of {self._ledger.named((place, offset))} says that it is of {source}"
            )
        if letter.disposition is Disposition.WORKER_KILLED:
            wrong = self._slot.parent.wrong(place, offset, is_killer=letter.value in (b"kills", b"killer"))
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
