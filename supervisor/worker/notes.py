"""What is settled above the committed offsets, kept in the commits themselves (``commit.metadata = true``).

On assignment a worker reads what the last owner noted; those records are settled as they are delivered, without
a handler. Everything belongs to the holder of the baton.
"""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import groupby

from supervisor.core.commit_metadata import LIMIT, Runs, above, decode, encode, holds, joined
from supervisor.core.lane import Place
from supervisor.core.spec import Delivery
from supervisor.kafka.consumer import Source
from supervisor.kafka.offsets import AskError
from supervisor.plugin.types import Message
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Owned

logger = logging.getLogger(__name__)

READ_TIMEOUT = 5.0
"""Seconds; without an answer everything above the committed offset is worked again."""
CROWDED, ROOMY = 0.75, 0.5
"""Shares of the limit at which a partition pauses, and goes on."""
LEAST = 100
"""Characters below which a broker's limit leaves no room for anything."""
TOO_LARGE = "OFFSET_METADATA_TOO_LARGE"


class Notes:
    """The metadata of one worker's commits; does nothing while the option is off."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        group = engine.spec.group
        self._is_on = group.commit.metadata and group.delivery is not Delivery.EXACTLY_ONCE
        self._limit = LIMIT
        self._source: Source | None = None
        self.claimed: dict[Place, Runs] = {}
        """Of owned partitions: what is settled and was not delivered yet."""
        self.texts: dict[Place, str] = {}
        """What went with the newest commit of each partition."""
        self.crowded: set[Place] = set()
        """Partitions whose note leaves little room: nothing more is to be delivered."""

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""
        self._source = source

    def read(self, places: Sequence[Place]) -> None:
        """Read what the last owners noted; inside the assignment's callback, waits ``READ_TIMEOUT`` at most."""
        if not (self._is_on and places and self._source is not None):
            return
        try:
            found = self._source.committed(places, READ_TIMEOUT)
        except AskError as error:
            logger.warning("commit.metadata_unread", extra={"fields": {"code": str(error)}})
            return
        engine = self._engine
        foreign = []
        with engine.mutex:
            for place, (offset, text) in found.items():
                owned = engine.owned.get(place)
                if owned is None or offset < 0:
                    continue
                owned.committed = offset
                runs = decode(text, offset) if text else []
                if runs is None:
                    foreign.append(f"{place[0]}/{place[1]}")
                elif runs:
                    self.claimed[place] = runs
                    self.texts[place] = text.rstrip("\0")
        if foreign:
            logger.warning("commit.metadata_foreign", extra={"fields": {"partitions": " ".join(foreign)}})
        if self.claimed:
            count = sum(end - first for place in places for first, end in self.claimed.get(place, ()))
            logger.info("commit.metadata_read", extra={"fields": {"settled": count}})

    def spread(self, owned: Owned, batch: Sequence[Message], into: Callable[[Owned, Sequence[Message]], None]) -> None:
        """Put delivered records ``into`` lanes, and settle at once what was noted; mutex held."""
        engine, runs = self._engine, self.claimed[owned.place]
        for is_settled, group in groupby(batch, lambda message: holds(runs, message.offset() or 0)):
            messages = list(group)
            if is_settled:
                offsets = [message.offset() or 0 for message in messages]
                owned.offsets.deliver(offsets, now=time.monotonic())
                for offset in offsets:
                    owned.offsets.settle(offset)
                engine.dirty.add(owned)
            else:
                into(owned, messages)
        left = above(runs, owned.offsets.position or 0)
        if left:
            self.claimed[owned.place] = left
        else:
            del self.claimed[owned.place]

    def of(self, owned: Owned, offset: int) -> str:
        """Return the note that belongs to a commit at ``offset``; mutex held."""
        if not self._is_on:
            return ""
        place = owned.place
        runs = owned.offsets.settled_runs()
        claimed = self.claimed.get(place)
        if claimed:
            runs = joined([*runs, *above(claimed, max(offset, owned.offsets.position or 0))])
        note = encode(offset, runs, limit=self._limit)
        if note.fill <= ROOMY or not self._limit:
            self.crowded.discard(place)
        elif note.fill > CROWDED:
            self.crowded.add(place)
        return note.text

    def is_news(self, place: Place, text: str) -> bool:
        """Tell whether a note is another than the one that went last."""
        return self._is_on and self.texts.get(place, "") != text

    def sent(self, place: Place, text: str) -> None:
        """Note what goes with a commit."""
        if self._is_on:
            self.texts[place] = text

    def refused(self, place: Place, code: str) -> None:
        """Have the next commit of a partition carry its note again, a shorter one where the broker wants that."""
        if not self._is_on:
            return
        self.texts[place] = "?"
        if code == TOO_LARGE:
            self._limit = self._limit // 2 if self._limit // 2 >= LEAST else 0
            logger.warning("commit.metadata_too_large", extra={"fields": {"limit": self._limit}})

    def forget(self, places: Sequence[Place]) -> None:
        """Let go of partitions that were given up, or that go on somewhere else; mutex held."""
        for place in places:
            self.claimed.pop(place, None)
            self.texts.pop(place, None)
            self.crowded.discard(place)
