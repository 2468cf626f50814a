"""The worker's producer: made when first needed, one future per record."""

import logging
import threading
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from supervisor.kafka.logs import client_logger
from supervisor.kafka.refusals import SHARED
from supervisor.kafka.settings import Settings, alone, is_alone

logger = logging.getLogger(__name__)
METADATA_TIMEOUT = 5.0
POLL_INTERVAL = 0.1


class ProduceError(Exception):
    """A record was not written; ``code`` is the broker's or librdkafka's name for why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Partitions:
    """How many partitions topics have, asked once each. Any thread."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def forget(self, topic: str) -> None:
        """Ask again the next time."""
        self._counts.pop(topic, None)

    def known(self, topic: str) -> int | None:
        """Return the topic's partitions if they were asked for before."""
        return self._counts.get(topic)

    def count(self, producer: Producer, topic: str) -> int:
        """Return the topic's partitions; may block for ``METADATA_TIMEOUT`` seconds while they are not known."""
        count = self._counts.get(topic)
        if count is None:
            try:
                metadata = producer.list_topics(topic, timeout=METADATA_TIMEOUT).topics[topic]
            except KafkaException as error:
                reason = error.args[0]
                raise ProduceError(reason.name(), reason.str()) from error
            if metadata.error is not None:
                raise ProduceError(metadata.error.name(), f"topic {topic!r}: {metadata.error.str()}")
            count = self._counts[topic] = len(metadata.partitions)
        return count


class LazyProducer:
    """A ``plugin.types.Send``: creates its client on the first call, and anew after a fatal error.

    Worker process, any thread. Delivery reports are served by a thread of its own, so that futures end
    whatever the handler threads do.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._partitions = Partitions()
        self._closed = threading.Event()
        self._waiting: dict[str, list[tuple[Future[None], dict[str, Any], int]]] = {}
        """What waits for the number of its topic's partitions, which a thread asks for."""
        self._thread: threading.Thread | None = None
        self._fatal: KafkaError | None = None
        """What the last client died of."""
        self._alone: LazyProducer | None = None
        """Sends again what was refused with others, each in a batch of its own: only then is an error its own."""

    def __call__(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Any = (),  # noqa: ANN401
        partition: int | None = None,
        timestamp: float | None = None,
    ) -> "Future[None]":
        """Send one record; see ``plugin.types.Send``.

        ``partition`` falls back to the partitioner when the topic has fewer.
        """
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # so that nobody can cancel it: its answer will come
        record: dict[str, Any] = {"topic": topic, "value": value, "key": key, "headers": list(headers)}
        if timestamp is not None:
            record["timestamp"] = round(timestamp * 1000)
        count = None if partition is None else self._partitions.known(topic)
        if partition is not None and count is None:
            self._ask_first(future, record, partition)
        else:
            self._send(future, _placed(record, partition, count or 0))
        return future

    def look_up(self, topic: str) -> None:
        """Have a topic's partitions known, for callers that may wait; blocks for ``METADATA_TIMEOUT`` seconds at most.

        Raises ``ProduceError``, and ``ValueError`` of a name that the client cannot pass on.
        """
        self._partitions.count(self._client(), topic)

    def _ask_first(self, future: "Future[None]", record: dict[str, Any], partition: int) -> None:
        """Have a record wait for the number of its topic's partitions: all of a topic for one answer."""
        topic = record["topic"]
        with self._lock:
            is_asked = topic in self._waiting
            self._waiting.setdefault(topic, []).append((future, record, partition))
        if not is_asked:
            threading.Thread(target=self._ask, args=(topic,), name="metadata", daemon=True).start()

    def _ask(self, topic: str) -> None:
        count, failure = 0, None
        try:
            count = self._partitions.count(self._client(), topic)
        except Exception as error:  # noqa: BLE001 - whatever it is, the futures must end
            failure = error
        with self._lock:
            waiting = self._waiting.pop(topic)
        for future, record, partition in waiting:
            if failure is not None:
                future.set_exception(failure)
                continue
            try:
                self._send(future, _placed(record, partition, count))
            except Exception as error:  # noqa: BLE001 - as above
                future.set_exception(error)

    def _send(self, future: "Future[None]", record: dict[str, Any]) -> None:
        producer = self._client()

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None and is_fatal(error):
                self._forget(producer)
            try:
                if error is None:
                    future.set_result(None)
                elif error.name() in SHARED and self._is_shared():
                    self._send_alone(future, record)
                else:
                    future.set_exception(self._why(error))
            except BaseException as crash:  # noqa: BLE001 - user code hangs on the future; raised on, it would end this thread
                fields = {"error": type(crash).__qualname__}
                logger.error("producer.callback_failed", extra={"fields": fields})  # noqa: TRY400 - its text is the user's

        try:
            producer.produce(**record, on_delivery=delivered)
        except KafkaException as error:
            reason = error.args[0]
            self._partitions.forget(record["topic"])  # it may have been made anew, with fewer partitions
            if is_fatal(reason):
                self._forget(producer)
            raise ProduceError(reason.name(), reason.str()) from error

    def _send_alone(self, future: "Future[None]", record: dict[str, Any]) -> None:
        with self._lock:
            if self._alone is None:
                self._alone = LazyProducer(alone(self._settings))
            producer = self._alone
        try:
            producer._send(future, record)  # noqa: SLF001 - of this class
        except (ProduceError, BufferError) as error:
            future.set_exception(error)

    def _why(self, error: KafkaError) -> ProduceError:
        """Return a record's error; what a dead client took along with it has the client's own."""
        if error.code() == KafkaError._PURGE_QUEUE and self._fatal is not None:  # noqa: SLF001 - librdkafka's public name
            error = self._fatal
        return ProduceError(error.name(), error.str())

    def _is_shared(self) -> bool:
        return not is_alone(self._settings) and not self._closed.is_set()

    def close(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for what is under way, then stop."""
        with self._lock:
            producer = self._producer
        if producer is not None:
            try:
                producer.flush(timeout)
            except (KafkaException, SystemError):
                logger.warning("producer.failed", exc_info=True)
        if self._alone is not None:
            self._alone.close(timeout)
        self._closed.set()
        if self._thread is not None:
            self._thread.join(POLL_INTERVAL * 3)

    def _client(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = Producer(dict(self._settings), logger=client_logger())
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="deliveries", daemon=True)
                self._thread.start()
            return self._producer

    def _forget(self, producer: Producer) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None

    def _serve(self) -> None:
        served: Producer | None = None
        while not self._closed.is_set():
            with self._lock:
                producer = self._producer
            if served is not None and served is not producer:
                _bury(served)
            served = producer
            if producer is None:
                self._closed.wait(POLL_INTERVAL)
                continue
            try:
                producer.poll(POLL_INTERVAL)
            except (KafkaException, SystemError) as error:
                # A fatal error is raised here, once even as SystemError beside a delivery callback.
                logger.warning("producer.failed", exc_info=True)
                self._fatal = error.args[0] if isinstance(error, KafkaException) else None
                self._forget(producer)


def _placed(record: dict[str, Any], partition: int | None, count: int) -> dict[str, Any]:
    return record if partition is None or partition >= count else {**record, "partition": partition}


def is_fatal(error: KafkaError) -> bool:
    """Tell whether the client is dead; code ``_FATAL`` itself does not say so of itself."""
    return bool(error.fatal()) or error.code() == KafkaError._FATAL  # noqa: SLF001 - librdkafka's public name for it


def _bury(producer: Producer) -> None:
    """End the futures of a client that is given up; its records were refused or never sent."""
    try:
        producer.purge()
        producer.flush(1.0)
    except (KafkaException, SystemError):
        logger.warning("producer.failed", exc_info=True)
