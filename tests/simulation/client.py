"""What simulated consumers deal in: errors, messages, outcomes; and whom they talk to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaError, Message

from supervisor.worker.returned import Returned
from tests.simulation.broker import Log, Place, Result
from tests.simulation.machine import Machine, Task

EOF = KafkaError._PARTITION_EOF


class SimError:
    """A ``KafkaError`` of any name."""

    def __init__(self, name: str, text: str = "simulated") -> None:
        self._name = name
        self._text = text

    def name(self) -> str:
        return self._name

    def str(self) -> str:
        return self._text

    def code(self) -> int:
        return int(getattr(KafkaError, self._name, 0))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A ``TopicPartition`` as a commit's callback gets it."""

    topic: str
    partition: int
    offset: int
    error: SimError | None


class Delivered(Message):
    """A message that knows in which ownership it was delivered."""

    __slots__ = ("ownership",)
    ownership: Any


def delivered(message: Any) -> Delivered:
    """Return the message that the consumer delivered, whatever the worker put around it."""
    inner: Any = message._message if isinstance(message, Returned) else message
    found: Delivered = inner
    return found


class Membership(Protocol):
    """The background half, of whichever protocol."""

    @property
    def identity(self) -> tuple[str, str | None, int]: ...
    def join(self) -> None: ...
    def served(self, *, gave_up: bool) -> None: ...
    def leave(self) -> None: ...
    def stay_behind(self) -> None: ...


class Watcher(Protocol):
    """Who checks what a consumer is used for."""

    def owns(self, consumer: Any, place: Place, start: int) -> Any:
        """Note that a partition's records begin to come; return the ownership that they are of."""

    def delivers(self, ownership: Any, messages: Sequence[Message]) -> None:
        """Note what comes from a retry topic."""

    def gives_up(self, ownership: Any, *, lost: bool) -> None:
        """Note that a partition is not the consumer's any more."""

    def last_commit(self, ownership: Any) -> None:
        """Note that a revoke commits what it has: nothing of it may be begun from here on."""

    def sends(self, ownership: Any, consumer: Any, place: Place, offset: int) -> None:
        """Check an offset that goes into a commit or into the store."""

    def problem(self, text: str) -> None:
        """Note that a promise was broken."""


class Fetching:
    """An assigned partition. ``position`` is ``None`` until the committed offset came."""

    __slots__ = ("from_then_on", "is_assigned", "ownership", "position", "reached", "stored", "told_end")

    def __init__(self) -> None:
        self.position: int | None = None
        self.ownership: Any = None
        self.told_end = -1
        self.from_then_on = 0.0
        self.stored: int | None = None
        self.is_assigned = True
        self.reached = 0
        """How far it was before it was moved."""

    def fetch(self, place: Place, log: Log, limit: int, found: list[Any]) -> None:
        """Add what comes next to what was found, up to ``limit``; the end of the partition once each time it is met."""
        position = self.position
        if position is None or (position >= log.end and self.told_end == log.end):
            return
        topic, partition = place
        at = log.at(position)
        while at < len(log.offsets) and len(found) < limit:
            key, value, headers = log.records[at]
            offset = log.offsets[at]
            message = Delivered(
                topic=topic, partition=partition, offset=offset, key=key, value=value, headers=headers, timestamp=(1, 1)
            )
            message.ownership = self.ownership
            found.append(message)
            self.position = offset + 1
            at += 1
        if at == len(log.offsets) and len(found) < limit:
            self.position = self.told_end = log.end
            found.append(Message(topic=topic, partition=partition, offset=log.end, error=KafkaError(EOF)))

    def anew(self) -> "Fetching":
        """Return what it is once it is assigned anew within the same ownership."""
        again = Fetching()
        again.is_assigned = False
        again.ownership, again.reached = self.ownership, self.position or 0
        return again


def outcomes_of(results: Sequence[Result]) -> list[Outcome]:
    """Return a commit's results as its callback gets them."""
    return [Outcome(*place, offset, SimError(code) if code else None) for place, offset, code in results]


class Used(Protocol):
    """What only one thread at a time may use."""

    machine: Machine
    watcher: Watcher
    is_closed: bool
    inside: Task | None


class Alone:
    """A client hangs or worse when two threads use it at once; here that is a problem noted."""

    def __init__(self, consumer: Used) -> None:
        self._consumer = consumer
        self._before: Task | None = None

    def __enter__(self) -> None:
        consumer, task = self._consumer, self._consumer.machine.current
        self._before = consumer.inside
        if consumer.is_closed:
            consumer.watcher.problem(f"{task and task.name} used the consumer after it was closed")
        if self._before is not None and self._before is not task:
            consumer.watcher.problem(f"{task and task.name} used the consumer while {self._before.name} did")
        consumer.inside = task

    def __exit__(self, *error: object) -> None:
        self._consumer.inside = self._before
