"""How a simulated consumer commits: in the background, waiting for the answer, or by itself what was stored."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from tests.simulation.broker import Place, Result
from tests.simulation.client import Outcome, SimError, outcomes_of

if TYPE_CHECKING:
    from tests.simulation.consumer import SimConsumer

COMMIT_PATIENCE = 3.0


class SimCommits:
    """The commits of one consumer."""

    def __init__(self, of: "SimConsumer", on_commit: Callable[[Any, list[Outcome]], None]) -> None:
        self._of = of
        self._on_commit = on_commit

    def later(self, pairs: list[tuple[Place, int]]) -> None:
        identity = self._of.member.identity

        def answered(results: list[Result]) -> None:
            self._of.ops.append(lambda: self._on_commit(None, outcomes_of(results)))
            self._of.nudge()

        self._of.broker.ask(self._of, lambda: self._of.broker.commit(identity, pairs), answered)

    def now(self, pairs: list[tuple[Place, int]]) -> list[Outcome]:
        identity = self._of.member.identity
        results: list[Result] = []
        task = self._of.machine.current
        assert task is not None

        def answered(answer: list[Result]) -> None:
            results.extend(answer)
            self._of.machine.wake(task)

        self._of.broker.ask(self._of, lambda: self._of.broker.commit(identity, pairs), answered)
        deadline = self._of.machine.now + COMMIT_PATIENCE
        self._of.is_committing = True
        while not results and self._of.machine.now < deadline:
            self._of.machine.park(deadline - self._of.machine.now)
        self._of.is_committing = False
        if not results:
            raise KafkaException(SimError("_WAIT_COORD"))
        refused = [code for _, _, code in results if code is not None]
        if refused:
            raise KafkaException(SimError(refused[0]))
        return outcomes_of(results)

    def stored_again(self) -> None:
        if self._of.is_gone or self._of.is_closed or not self._of.process.is_alive:
            return
        self._of.machine.at(self._of.interval, self.stored_again)
        pairs = sorted((place, stored) for place, one in self._of.held.items() if (stored := one.stored) is not None)
        if pairs and not self._of.is_fatal and not self._of.process.is_frozen:
            for place, _ in pairs:
                self._of.held[place].stored = None
            self.later(pairs)

    def stored(self, places: Sequence[Place]) -> None:
        """Commit what is stored of partitions that go, as librdkafka does by itself before it gives them up."""
        pairs = [(place, stored) for place in places if (stored := self._of.held[place].stored) is not None]
        identity = self._of.member.identity
        if pairs and not self._of.is_fatal:
            self._of.broker.ask(self._of, lambda: self._of.broker.commit(identity, pairs), lambda _: None)
