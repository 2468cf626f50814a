"""Send letters, and come back when every one of them is confirmed."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from supervisor.core.letter_view import Headers
from supervisor.core.resets import is_hopeless
from supervisor.core.spec import GroupSpec
from supervisor.kafka.letters import replay_settings
from supervisor.kafka.patience import AGAIN_EVERY, PATIENCE
from supervisor.kafka.producer import LazyProducer, ProduceError
from supervisor.kafka.refusals import REFUSALS, SHARED

MARGIN = 10.0
NEW_TOPIC = 5.0
TYPED_TOPIC = 2.0
NO_TOPIC = ("TOPIC_EXCEPTION",)
"""What is said to a name that no topic can have: where a letter came from its headers tell, which anybody writes."""
MISSING = ("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_OR_PARTITION")
CLOSE = 5.0
NO_ANSWER = "_TIMED_OUT"


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
    """Sends with one producer; what is under way at once is bounded by who calls. ``timeout``: of one record.

    ``may_make``: see ``replay_settings``; where letters go is what somebody typed, or what their headers say.
    """

    def __init__(self, group: GroupSpec, *, timeout: float = PATIENCE, may_make: bool = False) -> None:
        self._timeout = timeout
        self.producer = LazyProducer(replay_settings(group, timeout=timeout, may_make=may_make))

    def send_each(self, outs: Sequence[Out]) -> list[ProduceError | None]:
        """Send all in their order, wait for the brokers' word on each, and return each one's error.

        Blocks for at most twice the timeout and a little: the client gives a record up by then. One that failed for
        another's sake is sent again alone.
        """
        errors = self._sent(outs)
        if len(outs) == 1:
            return errors
        return [
            self._sent([out])[0] if error is not None and error.code in SHARED else error
            for out, error in zip(outs, errors, strict=True)
        ]

    def lacks(self, topic: str) -> bool:
        """Tell whether a topic that somebody typed is not there, nor can be; no answer at all is not a no.

        Blocks for ``TYPED_TOPIC`` seconds, or as long as one question takes.
        """
        deadline = time.monotonic() + TYPED_TOPIC
        while True:
            try:
                self.producer.look_up(topic)
            except ProduceError as error:
                if error.code in NO_TOPIC or (error.code in MISSING and time.monotonic() >= deadline):
                    return True
                if error.code not in MISSING:
                    return False
            except ValueError:
                return True  # a name with a NUL, which the client cannot pass on
            else:
                return False
            time.sleep(AGAIN_EVERY)

    def close(self) -> None:
        """Let go of the client."""
        self.producer.close(CLOSE)

    def _sent(self, outs: Sequence[Out]) -> list[ProduceError | None]:
        begun: list[Future[None] | ProduceError] = []
        for out in outs:
            last = begun[-1] if begun else None
            # What keeps one out keeps out those behind it, unless it is of the one record.
            is_shut = isinstance(last, ProduceError) and last.code not in REFUSALS and last.code not in NO_TOPIC
            begun.append(last if is_shut and last is not None else self._begun(out))
        return [one if isinstance(one, ProduceError) else self._outcome(one) for one in begun]

    def _begun(self, out: Out) -> "Future[None] | ProduceError":
        """Give a record to the client, which may have to ask for its topic first: again while nobody answers."""
        began = time.monotonic()
        while True:
            try:
                # The client itself takes letters for a topic that is not there, and says so half a minute later.
                self.producer.look_up(out.topic)
                return self.producer(out.topic, out.value, key=out.key, headers=out.headers, partition=out.partition)
            except ProduceError as error:
                # A topic that was just made is not known everywhere yet.
                patience = min(NEW_TOPIC, self._timeout) if error.code in MISSING else self._timeout
                if error.code in REFUSALS or is_hopeless(error.code) or time.monotonic() - began > patience:
                    return error
            except ValueError as error:
                return ProduceError("_INVALID_ARG", str(error))  # a name with a NUL, which the client cannot pass on
            except BufferError as error:
                if time.monotonic() - began > self._timeout:
                    return ProduceError("_QUEUE_FULL", str(error))
            time.sleep(AGAIN_EVERY)

    def _outcome(self, future: "Future[None]") -> ProduceError | None:
        try:
            future.result(self._timeout + MARGIN)
        except ProduceError as error:
            return error
        except TimeoutError:
            return ProduceError(NO_ANSWER, f"no answer within {self._timeout + MARGIN:g} s")
        return None
