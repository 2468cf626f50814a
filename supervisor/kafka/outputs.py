"""The producer of what handlers return: idempotent, endlessly patient, many records a second."""

import logging
import re
import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from supervisor.kafka.logs import client_logger
from supervisor.kafka.producer import Partitions
from supervisor.kafka.refusals import REFUSALS
from supervisor.kafka.settings import Settings
from supervisor.kafka.settings import alone as alone_settings
from supervisor.plugin.types import Produce

logger = logging.getLogger(__name__)
POLL_INTERVAL = 0.1
FULL_WAIT = 0.05
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")

Told = Callable[[Any, Any], None]
"""A delivery report's callback: an error with ``name()`` or ``None``, and the message."""


class RefusedOutputError(Exception):
    """A record to be produced that will never be taken; ``code`` is the broker's or librdkafka's name for why."""

    def __init__(self, code: str, topic: str) -> None:
        super().__init__(f"a record for topic {topic!r} cannot be produced: {code}")
        self.code = code


class OutputProducer:
    """Sends outputs in the order they come; delivery reports are told in a thread of its own.

    ``fail`` is called, in any thread, with why the process cannot go on: idempotence is lost, or a topic is
    missing or forbidden. What was sent and not confirmed is then produced again from the committed offsets.
    """

    def __init__(self, settings: Settings, fail: Callable[[str], None]) -> None:
        self._settings = settings
        self._fail = fail
        self._lock = threading.Lock()
        self._producers: dict[bool, Producer] = {}
        self._partitions = Partitions()
        self._closed = threading.Event()

    def would_ask(self, output: Produce) -> bool:
        """Tell whether ``send`` would wait for brokers to say how many partitions a topic has."""
        return output.partition is not None and self._partitions.known(output.topic) is None

    def send(self, output: Produce, told: Told, *, alone: bool = False) -> None:
        """Hand a record to the client; raise ``RefusedOutputError`` or ``TypeError`` when it can never be taken.

        ``alone``: in a batch of its own, by another client, so that its report is about nobody else.

        Waits while the client's queue is full: the handler's thread is where back-pressure of one record's
        outputs belongs.
        """
        producer = self._client(alone=alone)
        while not self._closed.is_set():
            try:
                produce(producer, self._partitions, output, told)
            except BufferError:
                self._closed.wait(FULL_WAIT)
            except KafkaException as error:
                reason = error.args[0]
                if reason.name() in REFUSALS:
                    raise RefusedOutputError(reason.name(), output.topic) from error
                self.failed(reason.name(), output.topic)
                raise
            else:
                return

    def failed(self, code: str, topic: str) -> None:
        """Say that a record could not be written for a reason that is not its own."""
        self._fail(f"outputs to topic {topic!r} cannot be produced: {code}")

    def close(self) -> None:
        """Stop telling; does not wait for what is under way."""
        self._closed.set()

    def _client(self, *, alone: bool) -> Producer:
        with self._lock:
            producer = self._producers.get(alone)
            if producer is None:
                settings = alone_settings(self._settings) if alone else dict(self._settings)
                producer = self._producers[alone] = Producer(settings, logger=client_logger())
                threading.Thread(target=self._serve, args=(producer,), name="outputs", daemon=True).start()
            return producer

    def _serve(self, producer: Producer) -> None:
        while not self._closed.is_set():
            try:
                producer.poll(POLL_INTERVAL)
            except (KafkaException, SystemError) as error:
                # A fatal error is raised here, once even as SystemError beside a delivery callback.
                self._fail(f"the producer of outputs failed: {error}")
                return


def produce(producer: Producer, partitions: Partitions, output: Produce, told: Told) -> None:
    """Call the client's ``produce``; raises what it raises."""
    if _TOPIC.fullmatch(output.topic) is None:
        # The client says so once; from then on the name is a topic that is only not there yet, which may pass.
        raise KafkaException(KafkaError(KafkaError.TOPIC_EXCEPTION))
    extra: dict[str, Any] = {}
    if output.partition is not None and output.partition < partitions.count(producer, output.topic):
        extra["partition"] = output.partition
    if output.timestamp is not None:
        extra["timestamp"] = round(output.timestamp * 1000)
    if output.headers:
        extra["headers"] = list(output.headers)
    producer.produce(output.topic, output.value, output.key, on_delivery=told, **extra)
