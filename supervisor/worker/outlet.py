"""What handlers return to be produced, and what of it must be confirmed before an offset moves (P1).

``Outbox`` is ``delivery = "at-least-once"``: outputs go out at once, in the order handlers return them, and their
record stays open until every one is confirmed. ``Transactions`` is ``"exactly-once"``.
"""

import threading
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from supervisor.core.lane import Place
from supervisor.kafka.outputs import OutputProducer, RefusedOutputError
from supervisor.kafka.refusals import REFUSALS, SHARED
from supervisor.plugin.idempotency import Unconfirmed
from supervisor.plugin.types import Failure, Message, Produce, Send
from supervisor.worker.calling import WrongReturnError, kind_of
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Owned
from supervisor.worker.sinks import Taken, UnwrittenError


class Refusals(Protocol):
    """What becomes of records whose outputs, or dead letters, can never be produced."""

    def refused(self, owned: Owned, message: Message, error: RefusedOutputError) -> None:
        """Give up a record that is still unsettled."""

    def instead(self, message: Message, error: RefusedOutputError, failure: Failure | None) -> Taken:
        """Write the dead letter of a record that counts as settled; raise ``UnwrittenError``.

        ``failure``: why it was to be copied into a retry topic, where that copy is what was refused.
        """

    def elsewhere(self, taken: Taken, code: str) -> Taken:
        """Have another sink write a letter that was refused where one had it produced; raise ``UnwrittenError``."""

    def unwritten(self, error: UnwrittenError) -> None:
        """Tell people."""

    def confirmed(self, taken: Taken) -> None:
        """Hear that a letter was produced, together with its offset."""


class Outlet(Protocol):
    """Where outputs go. ``held`` and ``size`` are records with outputs that are under way, and their bytes."""

    held: int
    size: int

    def connect(self, refusals: Refusals) -> None:
        """Take who decides over refused records; before any thread starts."""

    def send(self, owned: Owned, message: Message, answer: object) -> None:
        """Take what a handler returned for a record it has done; its thread still has the record in hand.

        Raises ``WrongReturnError`` for what is no output, ``RefusedOutputError`` for what can never be produced.
        """

    def may_wait(self, answer: object) -> bool:
        """Tell whether ``send`` would wait for brokers with what a handler returned."""

    def letter(self, owned: Owned, message: Message, taken: Taken) -> "Future[None] | None":
        """Take a dead letter that a sink wants produced; the record is settled once the future ends, or at once."""

    def copy(self, owned: Owned, message: Message, copy: Produce, failure: Failure) -> "Future[None] | None":
        """Take a copy for a retry topic, as ``letter``; one that is refused becomes a dead letter of ``failure``."""

    def held_of(self, owned: Owned, offsets: Sequence[int]) -> list[int]:
        """Return which of these records, that handlers are done with, must stay unsettled for now; mutex held."""

    def is_waited_for(self, places: Collection[Place]) -> bool:
        """Tell whether records of these partitions are done but for what is told soon; mutex held."""

    def drop(self, owned: Owned) -> None:
        """Forget the outputs of an ownership that ended; mutex held."""

    def collect(self) -> None:
        """Settle what was confirmed meanwhile. Any thread, mutex not held."""


def outputs_of(answer: object) -> Sequence[Produce]:
    """Return what a handler asked to be produced; raise ``WrongReturnError`` when that is something else."""
    if isinstance(answer, Produce):
        outputs: Sequence[Produce] = (answer,)
    elif isinstance(answer, list | tuple):
        outputs = answer
    else:
        raise WrongReturnError(kind_of(answer))
    if not all(map(_is_output, outputs)):
        wrong = next(_wrong(one) for one in outputs if not _is_output(one))
        raise WrongReturnError(wrong if outputs is not answer else f"{kind_of(answer)} with {wrong} in it")
    return outputs


def _is_output(one: object) -> bool:
    return (
        isinstance(one, Produce)
        and _is(one.topic, str)
        and one.topic != ""
        and _is(one.key, bytes | str | None)
        and _is(one.value, bytes | str | None)
    )


def _wrong(one: object) -> str:
    """Return of what types something is that is no output."""
    if not isinstance(one, Produce):
        return kind_of(one)
    if one.topic == "":
        return "a Produce without a topic"
    types = ", ".join(f"{name}: {kind_of(getattr(one, name))}" for name in ("topic", "key", "value"))
    return f"a Produce of wrong types ({types})"


def _is(value: object, kind: Any) -> bool:  # noqa: ANN401 - a class or a union
    """Check at run time what the user's type annotations promise."""
    return isinstance(value, kind)


def size_of(message: Message, outputs: Sequence[Produce]) -> int:
    """Return about how many bytes outputs hold, and the record that is kept with them."""
    return len(message.value() or b"") + sum(len(one.value or b"") + len(one.key or b"") for one in outputs)


class Pending:
    """The outputs of one record, until all are confirmed. Called with each delivery report, in one thread at a time."""

    __slots__ = (
        "_confirmed",
        "error",
        "guarded",
        "is_alone",
        "is_done",
        "left",
        "message",
        "outputs",
        "owned",
        "size",
        "topic",
    )

    def __init__(self, owned: Owned, message: Message, outputs: Sequence[Produce], confirmed: "deque[Pending]") -> None:
        self.owned = owned
        self.message = message
        self.outputs = outputs
        self.left = len(outputs)
        self.is_alone = False
        """Whether they went in batches of their own, so that an error is theirs."""
        self.size = size_of(message, outputs)
        self.error = self.topic = ""
        self.guarded: Unconfirmed | None = None
        """The key of the record, which is done before the record is settled."""
        self.is_done = False
        """Whether the handler's thread is done with the record, and only confirmations are missing."""
        self._confirmed = confirmed

    def __call__(self, error: Any, message: Any) -> None:  # noqa: ANN401 - the client's own types
        """Take one delivery report."""
        if error is not None:
            self.error, self.topic = error.name(), message.topic()
        self.left -= 1
        if not self.left:
            if self.guarded is None or self.error:
                self._confirmed.append(self)
            else:
                self.guarded.confirmed(partial(self._confirmed.append, self))


class Outbox:
    """Outputs at least once, in order; dead letters through the worker's other producer."""

    def __init__(self, engine: Engine, producer: OutputProducer, send: Send) -> None:
        self._engine = engine
        self._producer = producer
        self._send = send
        self._refusals: Refusals | None = None
        self._confirmed: deque[Pending] = deque()
        self._lock = threading.Lock()
        self.held = 0
        self.size = 0

    def connect(self, refusals: Refusals) -> None:
        """See ``Outlet``."""
        self._refusals = refusals

    def send(self, owned: Owned, message: Message, answer: object) -> None:
        """See ``Outlet``."""
        guarded = answer if isinstance(answer, Unconfirmed) else None
        try:
            outputs = outputs_of(guarded.outputs if guarded is not None else answer)
        except WrongReturnError:
            _let_go(guarded)
            raise
        if not outputs or owned.revoked:
            _let_go(guarded)
            return
        pending = Pending(owned, message, outputs, self._confirmed)
        pending.guarded = guarded
        with self._lock:
            self.held += 1
            self.size += pending.size
        offset = message.offset() or 0
        owned.outputs[offset] = pending
        try:
            for output in outputs:
                self._producer.send(output, pending)
        except BaseException:
            del owned.outputs[offset]
            self._forget(pending)
            _let_go(guarded)
            raise

    def may_wait(self, answer: object) -> bool:
        """See ``Outlet``."""
        outputs = answer.outputs if isinstance(answer, Unconfirmed) else answer
        some = outputs if isinstance(outputs, list | tuple) else (outputs,)
        return any(isinstance(one, Produce) and _is(one.topic, str) and self._producer.would_ask(one) for one in some)

    def letter(self, owned: Owned, message: Message, taken: Taken) -> "Future[None] | None":
        """See ``Outlet``."""
        del owned, message
        return self._write(taken.outputs[0])

    def copy(self, owned: Owned, message: Message, copy: Produce, failure: Failure) -> "Future[None] | None":
        """See ``Outlet``."""
        del owned, message, failure
        return self._write(copy)

    def _write(self, copy: Produce) -> "Future[None]":
        return self._send(
            copy.topic,
            _bytes(copy.value),
            key=_bytes(copy.key),
            headers=copy.headers,
            partition=copy.partition,
            timestamp=copy.timestamp,
        )

    def held_of(self, owned: Owned, offsets: Sequence[int]) -> list[int]:
        """See ``Outlet``."""
        held = []
        for offset in offsets:
            pending = owned.outputs.get(offset)
            if isinstance(pending, Pending):
                pending.is_done = True
                held.append(offset)
        return held

    def is_waited_for(self, places: Collection[Place]) -> bool:
        """See ``Outlet``."""
        return any(owned.outputs for place, owned in self._engine.owned.items() if place in places)

    def drop(self, owned: Owned) -> None:
        """See ``Outlet``; they are under way, and forgotten as their reports come."""

    def collect(self) -> None:
        """See ``Outlet``."""
        engine, refused, early = self._engine, [], []
        if not self._confirmed:
            return
        with engine.mutex:
            while self._confirmed:
                pending = self._confirmed.popleft()
                if pending.error and not pending.owned.revoked:
                    if not pending.is_done:
                        early.append(pending)  # its thread will be done in a moment
                        continue
                    refused.append(pending)
                else:
                    self._settle(pending)
            self._confirmed.extend(early)
            engine.progress.notify_all()
        for pending in refused:
            if pending.error in SHARED and not pending.is_alone:
                self._send_alone(pending)
            elif pending.error in REFUSALS:
                self._forget(pending)
                _let_go(pending.guarded)
                assert self._refusals is not None  # noqa: S101 - connect() comes first
                self._refusals.refused(pending.owned, pending.message, RefusedOutputError(pending.error, pending.topic))
            else:
                self._producer.failed(pending.error, pending.topic)

    def _send_alone(self, pending: Pending) -> None:
        """Send outputs again that were refused together with others; they may come behind later ones now."""
        pending.is_alone, pending.error, pending.left = True, "", len(pending.outputs)
        for output in pending.outputs:
            self._producer.send(output, pending, alone=True)

    def _settle(self, pending: Pending) -> None:
        owned, offset = pending.owned, pending.message.offset() or 0
        owned.outputs.pop(offset, None)
        self._forget(pending)
        if pending.error:
            _let_go(pending.guarded)
        if pending.is_done and not owned.revoked:
            owned.offsets.settle(offset)
            self._engine.counters.settled += 1
            self._engine.dirty.add(owned)

    def _forget(self, pending: Pending) -> None:
        with self._lock:
            self.held -= 1
            self.size -= pending.size


def unsent(answer: object, failure: BaseException) -> BaseException:
    """Let go of what a handler returned although its attempt failed: nobody will produce it."""
    _let_go(answer if isinstance(answer, Unconfirmed) else None)
    return failure


def _let_go(guarded: Unconfirmed | None) -> None:
    if guarded is not None:
        guarded.refused()


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
