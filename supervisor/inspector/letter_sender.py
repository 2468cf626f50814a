"""Send letters, and come back when every one of them is confirmed."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from supervisor.core.letter_view import Headers
from supervisor.core.spec import GroupSpec
from supervisor.kafka.letters import PATIENCE, replay_settings
from supervisor.kafka.producer import LazyProducer, ProduceError

MARGIN = 10.0
CLOSE = 5.0


class SendError(Exception):
    """A letter was not taken; the text says which and why. Others that were sent with it may have been."""


@dataclass(frozen=True, slots=True)
class Out:
    """One record to be sent; ``about`` names its letter."""

    about: str
    topic: str
    partition: int | None
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Headers = field(repr=False)


class KafkaSender:
    """Sends with one producer; what is under way at once is bounded by who calls."""

    def __init__(self, group: GroupSpec) -> None:
        self._producer = LazyProducer(replay_settings(group))

    def send(self, outs: Sequence[Out]) -> None:
        """Send all in their order and wait for the brokers' word on each; raises ``SendError``.

        Blocks for at most ``PATIENCE`` and a little: the client gives a record up by then.
        """
        pending: list[tuple[Out, Future[None]]] = []
        for out in outs:
            try:
                future = self._producer(out.topic, out.value, key=out.key, headers=out.headers, partition=out.partition)
            except (ProduceError, BufferError) as error:
                message = f"{out.about} to {out.topic}: {error}"
                raise SendError(message) from error
            pending.append((out, future))
        for out, future in pending:
            try:
                future.result(PATIENCE + MARGIN)
            except ProduceError as error:
                message = f"{out.about} to {out.topic}: {error}"
                raise SendError(message) from error
            except TimeoutError as error:
                message = f"{out.about} to {out.topic}: no answer within {PATIENCE + MARGIN:g} s"
                raise SendError(message) from error

    def close(self) -> None:
        """Let go of the client."""
        self._producer.close(CLOSE)
