"""Who a worker deals with while it rehearses: brokers that have one empty partition for it, a parent that says stop."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import TopicPartition

from supervisor.core.frames import Frame
from supervisor.core.spec import End
from supervisor.worker.engine import Engine
from supervisor.worker.orders import Stop

TICKS = 8
STOP_TIMEOUT = 1.0

_Callback = Callable[[Any, list[TopicPartition]], object]


class NoBrokers:
    """As much of ``confluent_kafka.Consumer`` as an idle worker calls. Nothing waits."""

    def __init__(self, _settings: Mapping[str, object], **_: object) -> None:
        self._on_assign: _Callback | None = None
        self._on_revoke: _Callback | None = None
        self._owned: list[TopicPartition] = []

    def subscribe(self, topics: Sequence[str], *, on_assign: _Callback, on_revoke: _Callback, **_: _Callback) -> None:
        """Join at the next poll."""
        self._owned = [TopicPartition(topic, 0) for topic in topics]
        self._on_assign, self._on_revoke = on_assign, on_revoke

    def poll(self, _timeout: float) -> None:
        """Return no message; the first call assigns."""
        assign, self._on_assign = self._on_assign, None
        if assign is not None:
            assign(self, self._owned)

    def get_watermark_offsets(self, _place: TopicPartition, **_: object) -> tuple[int, int]:
        """Say that a partition is empty; asked where a rehearsal takes half a second."""
        return (0, 0)

    def close(self) -> None:
        """Give everything up."""
        if self._on_revoke is not None:
            self._on_revoke(self, self._owned)


class NoParent:
    """As much of ``worker.orders.Orders`` as a main thread calls: a few ticks of silence, then the order to stop."""

    engine: Engine
    other: Callable[[Frame], None]

    def __init__(self) -> None:
        self._left = TICKS

    def wait(self, _timeout: float) -> Stop | None:
        """Return the next order; does not wait."""
        self.engine.polled_at = 0.0  # so that the main thread polls at once
        self._left -= 1
        return None if self._left > 0 else Stop(End.KEEP, STOP_TIMEOUT, time.monotonic() + STOP_TIMEOUT)
