"""Dead letters to a Kafka topic, key, value and headers as they were, with the story of the failure behind them."""

from concurrent.futures import Future

from supervisor.plugin import Letter, Produce, WorkerContext, hookimpl


class KafkaSink:
    """Produce each letter to ``dead_letters.topic`` with the worker's own producer."""

    def __init__(self) -> None:
        self._produce: Produce | None = None

    @hookimpl
    def worker_started(self, context: WorkerContext) -> None:
        """Keep the way to the producer; nothing connects before the first letter."""
        self._produce = context.produce

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> "Future[None]":
        """Return at once; the future ends with the broker's word.

        The record's timestamp stays in a header: as the letter's own it would let a topic with time
        retention delete an old record's letter as soon as it was written.
        """
        if self._produce is None:
            message = "dlq_kafka was asked for a letter before the worker had started"
            raise RuntimeError(message)
        return self._produce(
            letter.topic,
            letter.value,
            key=letter.key,
            headers=letter.headers,
            partition=letter.source_partition,
        )
