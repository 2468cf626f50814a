"""Rebalances: what is owned, and how it is given up. Runs inside the polls of the baton's holder."""

import logging
import time
from collections.abc import Sequence

from supervisor.kafka.consumer import Source
from supervisor.plugin.active import Active
from supervisor.worker.committer import Committer
from supervisor.worker.engine import Engine, Owned, Place

logger = logging.getLogger(__name__)


class Ownership:
    """The partitions of one worker as they come and go."""

    def __init__(self, engine: Engine, active: Active, committer: Committer) -> None:
        self._engine = engine
        self._active = active
        self._committer = committer
        self._source: Source | None = None
        self._revoke_timeout = engine.spec.group.revoke_timeout
        self.closing = False
        """Once true, callbacks only tidy up: records are drained and committed already."""

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""
        self._source = source

    def assigned(self, places: Sequence[Place]) -> None:
        """Own what was assigned; its pause flags were cleared when it was last given up."""
        engine = self._engine
        with engine.mutex:
            for place in places:
                engine.owned[place] = Owned(place)
        logger.info("partitions.assigned", extra={"fields": {"partitions": _words(places)}})
        if places:
            self._active.partitions_assigned(list(places))
        self._tell()

    def revoked(self, places: Sequence[Place]) -> None:
        """Drain what can finish in time, commit it, and fence the rest by ending this ownership."""
        if not self.closing:
            self._drain(places)
        self._disown(places, lost=False)

    def lost(self, places: Sequence[Place]) -> None:
        """Drop everything: another member may own these partitions already, nothing may be committed."""
        self._disown(places, lost=True)

    def _drain(self, places: Sequence[Place]) -> None:
        engine = self._engine
        gone = set(places)
        deadline = time.monotonic() + self._revoke_timeout
        with engine.mutex:
            engine.revoking = True
            engine.lanes.purge(gone)
            while engine.lanes.working(gone) and (left := deadline - time.monotonic()) > 0 and engine.end is None:
                engine.progress.wait(min(left, 1.0))
            engine.revoking = False
            mine = [engine.owned[place] for place in places if place in engine.owned]
        self._committer.before_revoke(mine)

    def _disown(self, places: Sequence[Place], *, lost: bool) -> None:
        engine = self._engine
        with engine.mutex:
            engine.lanes.purge(set(places))
            for place in places:
                owned = engine.owned.pop(place, None)
                if owned is not None:
                    owned.revoked = True
                    engine.dirty.discard(owned)
                engine.at_end.discard(place)
            paused = engine.paused & set(places)
            engine.paused -= paused
        if paused and not self.closing and self._source is not None:
            # The client keeps a pause flag over revoke and re-assignment.
            self._source.resume([(place, None) for place in sorted(paused)])
        event = "partitions.lost" if lost else "partitions.revoked"
        logger.info(event, extra={"fields": {"partitions": _words(places)}})
        if places:
            self._active.partitions_revoked(list(places), lost=lost)
        self._tell()

    def _tell(self) -> None:
        with self._engine.mutex:
            owned = sorted(self._engine.owned)
        self._engine.link.send("assigned", partitions=owned)


def _words(places: Sequence[Place]) -> str:
    return " ".join(f"{topic}/{partition}" for topic, partition in places) or "none"
