"""What comes from retry topics: handed out when its time has come, its partition at rest until then.

The holder of the baton. A partition that waits is paused and sought back to the record that is not due; nothing of
it is held here, and the worker stays a member that polls.
"""

import logging
import time
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace

from supervisor.core.lane import Place
from supervisor.core.retry_topics import RetryTopic
from supervisor.kafka.consumer import Source
from supervisor.kafka.offsets import AskError
from supervisor.plugin.types import Message
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Owned
from supervisor.worker.returned import Later, Returned

logger = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds between two tries to go back in a partition, when the client refused the first."""


class Waits:
    """The retry partitions of one worker."""

    def __init__(self, engine: Engine, topics: Mapping[str, RetryTopic]) -> None:
        self._engine = engine
        self._topics = topics
        self._group = engine.spec.group.name
        self._jumped: dict[Place, Owned] = {}
        """Partitions that delivered what lies behind the record they wait for, until the client went back."""
        self._again_at = 0.0

    @property
    def topics(self) -> Collection[str]:
        """The names of the group's retry topics."""
        return self._topics

    def due(self, owned: Owned, batch: Sequence[Message], ends: MutableMapping[Place, int]) -> list[Message]:
        """Return what of a retry partition's records may be worked now, and have the rest come again; mutex held."""
        topic, place = self._topics[owned.place[0]], owned.place
        later, first = owned.later, batch[0].offset() or 0
        if later is not None and first > later.offset and not later.is_sought:
            # A seek that was refused, or records that are gone: only a new beginning tells the one from the other.
            self._jumped[place] = owned
            ends.pop(place, None)
            return []
        self._jumped.pop(place, None)
        owned.later, now = None, time.monotonic()
        has_waited = later is not None and later.offset == first and later.due <= now
        due: list[Message] = []
        for message in batch:
            returned = Returned(message, topic, self._group)
            wait = 0.0 if has_waited else returned.wait(topic.delay)
            has_waited = False
            if wait > 0 and returned.is_ours:
                owned.later = Later(now + wait, message.offset() or 0)
                self._engine.later.add(owned)
                ends.pop(place, None)
                break
            due.append(returned)
        return due

    def passed_over(self, owned: Owned) -> bool:
        """Tell whether an end that came alone lies behind a record that was let go, and go back to that; mutex held.

        The seek to it was refused, or nobody paused for it as the group was left: nothing else brings it again (P1).
        """
        later = owned.later
        if later is None or later.is_sought:
            return False
        self._jumped[owned.place] = owned
        return True

    def spread(self, owned: Owned, batch: Sequence[Message]) -> None:
        """Put such records into lanes of their own: with their copies they left their order behind; mutex held."""
        engine = self._engine
        owned.offsets.deliver([message.offset() or 0 for message in batch], now=time.monotonic())
        for message in batch:
            assert isinstance(message, Returned)  # noqa: S101 - ``due`` makes them so
            offset = message.offset() or 0
            if not message.is_ours:
                owned.offsets.settle(offset)
                engine.dirty.add(owned)
                continue
            size = len(message.value() or b"")
            lane = engine.lanes.add(("alone", owned.place, offset), owned.place, (owned, message), size=size)
            lane.count_on(message.attempts, message.first_failed_at)
            lane.solo = int(engine.in_batches)

    def seek(self, source: Source) -> None:
        """Go back in partitions that delivered what they should not have; mutex not held.

        While the client refuses, what they deliver is let go and commits nothing: it is tried again, each ``AGAIN``.
        """
        now = time.monotonic()
        if not self._jumped or now < self._again_at:
            return
        self._jumped = {place: owned for place, owned in self._jumped.items() if not owned.revoked}
        jumped = {place: owned.later for place, owned in self._jumped.items() if owned.later is not None}
        if not jumped:
            return
        try:
            source.move({place: later.offset for place, later in jumped.items()})
        except AskError as error:
            self._again_at = now + AGAIN
            self._engine.broker_trouble = str(error)
            fields = {"partitions": len(jumped), "code": str(error), "again_in": AGAIN}
            logger.warning("retry.not_sought_back", extra={"fields": fields})
            return
        for place, later in jumped.items():
            self._jumped[place].later = replace(later, is_sought=True)
        self._jumped.clear()
        logger.warning("retry.sought_back", extra={"fields": {"partitions": len(jumped)}})


def waiting(engine: Engine, now: float) -> Collection[Place]:
    """Return the retry partitions to pause: their next record is not due, or was not when it came; mutex held.

    That one is due by now does not bring it again: only a pause does, and the seek at its end.
    """
    if not engine.later:
        return ()
    engine.later = {
        one
        for one in engine.later
        if not one.revoked and one.later is not None and (one.later.due > now or one.place not in engine.paused)
    }
    return {one.place for one in engine.later}
