"""A transactional producer: outputs and offsets of one stretch of work become visible together, or not at all.

One thread runs it; any may look topics up. Rules after librdkafka's INTRODUCTION, "Transactional producer", and
KIP-447.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaException, Producer, TopicPartition

from supervisor.kafka.logs import client_logger
from supervisor.kafka.outputs import produce
from supervisor.kafka.producer import Partitions, ProduceError, is_fatal
from supervisor.kafka.refusals import REFUSALS, SHARED
from supervisor.kafka.settings import Settings
from supervisor.plugin.types import Produce

logger = logging.getLogger(__name__)
T = TypeVar("T")
Place = tuple[str, int]
LATE = "_TIMED_OUT"
FENCED = "_FENCED"
FATAL = "_FATAL"
CALL = 5.0
"""Seconds that one call into the client may take before it is asked again; retriable errors come sooner."""
BEYOND = 1.0
"""Seconds after its timeout in which a call comes back, if it does at all."""
NO_COORDINATOR = "_WAIT_COORD"
MOST_STUCK = 3
"""Clients that were given up and still wait; with more of them a new process is the better end: each has threads."""


class AbortedError(Exception):
    """The transaction was aborted: nothing of it is visible, and it may be tried again. ``code`` says why.

    ``waiting`` are the tags of what no broker had taken by then, when that is why.
    """

    def __init__(self, code: str, waiting: tuple[object, ...] = ()) -> None:
        super().__init__(f"transaction aborted: {code}")
        self.code = code
        self.waiting = waiting


class RefusedError(AbortedError):
    """Aborted for one record that will never be taken; ``tag`` is the one it was given with."""

    def __init__(self, code: str, tag: object) -> None:
        super().__init__(code)
        self.tag = tag


class CrowdedError(AbortedError):
    """Aborted for one record among others; run again with ``one_by_one`` to learn which."""


class FatalError(Exception):
    """The producer is of no use any more: fenced by a newer one, its state lost, or new clients do no better."""

    def __init__(self, code: str) -> None:
        super().__init__(f"transactional producer failed: {code}")
        self.code = code


class TransactionalProducer:
    """One ``transactional.id``; creating it connects nothing, ``start`` ends what a dead one left open."""

    def __init__(self, settings: Settings, *, timeout: float) -> None:
        self._settings = settings
        self._producer = self._new()
        self._is_started = False
        self._stuck: list[threading.Thread] = []
        self._partitions = Partitions()
        self._timeout = timeout
        self._refused: tuple[str, object, bool] | None = None
        self._failed = ""
        self._turn = 0
        """Grows with each transaction: reports of one that was aborted may come in the next."""
        self._waiting: dict[int, object] = {}
        """Tags of what was produced and not answered, by a number of each record."""
        self._numbers = itertools.count()
        self._is_open = False
        """Whether there is a transaction that is neither committed nor aborted for good."""

    def start(self, timeout: float) -> None:
        """Fence earlier producers of the id, end their transactions; ``AbortedError`` means: try again."""
        self._call(lambda: self._producer.init_transactions(timeout))
        self._is_started = True

    def look_up(self, topic: str) -> None:
        """Raise ``ProduceError`` unless the topic is there; may block for 5 s once per topic. Any thread."""
        self._partitions.count(self._producer, topic)

    def run(
        self,
        outputs: Sequence[tuple[object, Produce]],
        offsets: Sequence[tuple[Place, int]],
        metadata: object,
        *,
        one_by_one: bool = False,
    ) -> None:
        """Produce ``outputs`` (each with a tag) and commit ``offsets`` for the group's member, all or nothing.

        Raises ``RefusedError``, ``CrowdedError`` or another ``AbortedError`` when it is aborted, or will be by the next
        call; ``FatalError`` when it never will be, or when nobody answers whether it was committed.
        """
        if not self._is_started:
            self.start(CALL)
        if self._is_open:
            self._abort()  # the last one's, that nobody answered: it must be asked for again before anything else
        self._refused, self._failed = None, ""
        self._waiting.clear()
        self._turn += 1
        deadline = time.monotonic() + self._timeout
        self._call(self._producer.begin_transaction)
        self._is_open = True
        try:
            for at, (tag, output) in enumerate(outputs, 1):
                self._produce(tag, output)
                if one_by_one and (at == len(outputs) or outputs[at][0] != tag):
                    self._flush(deadline)
                    self._look_at_refusals(sure=True)
            # Flushed first: right after a commit the coordinator still writes markers, and adding offsets at once
            # would wait out a retry backoff of 100 ms.
            self._flush(deadline)
            self._look_at_refusals(sure=one_by_one)
            if self._failed:
                raise AbortedError(self._failed)  # noqa: TRY301 - as above
            positions = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets]
            self._again(lambda: self._send_offsets(positions, metadata), deadline)
            self._commit(time.monotonic() + self._timeout)
        except AbortedError:
            if self._is_open:
                self._abort()
            raise

    def _new(self) -> Producer:
        return Producer(dict(self._settings), logger=client_logger())

    def _send_offsets(self, positions: list[TopicPartition], metadata: object) -> None:
        """Give the offsets to their coordinator, or this client up, where that is a broker that went away.

        The client waits without end then, whatever its timeout, perhaps for a connection that nobody makes any more
        (librdkafka issues 5456, 5511). Its successor fences it; what it still waits for ends with the process.
        """
        outcome: Future[None] = Future()

        def send(client: Producer) -> None:
            try:
                client.send_offsets_to_transaction(positions, metadata, CALL)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                # Without its frames: a client that was given up ends here, not in whatever thread collects garbage.
                outcome.set_exception(error.with_traceback(None))
            else:
                outcome.set_result(None)

        thread = threading.Thread(target=send, args=(self._producer,), name="offsets", daemon=True)
        thread.start()
        try:
            outcome.result(CALL + BEYOND)
        except TimeoutError as error:
            self._stuck = [one for one in (*self._stuck, thread) if one.is_alive()]
            if len(self._stuck) > MOST_STUCK:
                raise FatalError(NO_COORDINATOR) from error
            logger.warning("transactions.new_client", extra={"fields": {"code": NO_COORDINATOR}})
            self._producer = self._new()
            self._is_started = self._is_open = False
            raise AbortedError(NO_COORDINATOR) from error

    def _commit(self, deadline: float) -> None:
        """Commit; a commit that nobody answered can neither be aborted nor told from one that was made.

        librdkafka takes no other call then. So the process ends: its successor's first request settles which it was,
        and the committed offsets say so.
        """
        try:
            self._again(lambda: self._producer.commit_transaction(CALL), deadline)
        except AbortedError as error:
            if error.code == LATE:
                raise FatalError(LATE) from error
            raise
        self._is_open = False

    def _abort(self) -> None:
        self._again(lambda: self._producer.abort_transaction(CALL), time.monotonic() + self._timeout)
        self._is_open = False

    def _look_at_refusals(self, *, sure: bool) -> None:
        if self._refused is not None:
            code, tag, is_its_own = self._refused
            if is_its_own or sure:
                raise RefusedError(code, tag)
            raise CrowdedError(code)

    def _flush(self, deadline: float) -> None:
        while self._call(lambda: self._producer.flush(1.0)):
            if time.monotonic() > deadline:
                raise AbortedError(LATE, tuple(self._waiting.values()))

    def _produce(self, tag: object, output: Produce) -> None:
        turn = self._turn
        number = next(self._numbers)
        self._waiting[number] = tag

        def told(error: Any, _message: object) -> None:  # noqa: ANN401 - the client's KafkaError or None
            self._waiting.pop(number, None)
            if error is not None and turn == self._turn:
                self._note(error.name(), tag, is_sure=error.name() not in SHARED)

        while True:
            try:
                produce(self._producer, self._partitions, output, told)
            except BufferError:
                self._call(lambda: self._producer.poll(0.05))
            except KafkaException as error:
                if is_fatal(error.args[0]):
                    raise FatalError(error.args[0].name()) from error
                self._note(error.args[0].name(), tag)
                return
            except ProduceError as error:
                self._note(error.code, tag)
                return
            except (TypeError, ValueError, OverflowError):
                self._note("_INVALID_ARG", tag)
                return
            else:
                return

    def _note(self, code: str, tag: object, *, is_sure: bool = True) -> None:
        if code in REFUSALS:
            self._refused = self._refused or (code, tag, is_sure)
        elif code != "_PURGE_QUEUE":
            self._failed = self._failed or code

    def _again(self, call: Callable[[], T], deadline: float) -> T:
        """Make a call that may have to be repeated with the same arguments until ``deadline``."""
        while True:
            try:
                return call()
            except (KafkaException, SystemError) as error:
                reason = error.args[0] if isinstance(error, KafkaException) else None
                if reason is None or not reason.retriable() or time.monotonic() > deadline:
                    raise _judged(error) from error

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (KafkaException, SystemError) as error:
            raise _judged(error) from error


def _judged(error: Exception) -> AbortedError | FatalError:
    """Tell whether an abort helps; ``SystemError`` is a fatal error raised beside a delivery callback."""
    if not isinstance(error, KafkaException):
        return FatalError(FATAL)
    reason = error.args[0]
    return FatalError(reason.name()) if is_fatal(reason) or reason.name() == FENCED else AbortedError(reason.name())
