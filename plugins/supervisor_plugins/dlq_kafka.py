"""Dead letters to a Kafka topic, key, value and headers as they were, with the story of the failure behind them."""

from supervisor.plugin import Letter, Produce, hookimpl


class KafkaSink:
    """Produce each letter to ``dead_letters.topic``, on the partition of the same number where there is one."""

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> Produce:
        """Return what is to be produced; with ``delivery = "exactly-once"`` it is part of the transaction.

        The record's timestamp stays in a header: as the letter's own it would let a topic with time
        retention delete an old record's letter as soon as it was written.
        """
        return Produce(
            letter.topic,
            key=letter.key,
            value=letter.value,
            headers=letter.headers,
            partition=letter.source_partition,
        )
