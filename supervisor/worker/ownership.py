"""Rebalances: what is owned, and how it is given up. Runs inside the polls of the baton's holder."""

import logging
import time
from collections.abc import Callable, Sequence

from supervisor.core.board import H_TICK_NS, H_WAIT, Wait
from supervisor.core.lane import Place
from supervisor.kafka.consumer import Source
from supervisor.plugin.active import Active
from supervisor.worker.committer import Commits
from supervisor.worker.engine import Engine
from supervisor.worker.outlet import Outlet
from supervisor.worker.owned import Owned
from supervisor.worker.report import MAX_PARTITIONS

MOMENT = 0.05
logger = logging.getLogger(__name__)


class Ownership:
    """The partitions of one worker as they come and go."""

    def __init__(self, engine: Engine, active: Active, committer: Commits, outlet: Outlet) -> None:
        self._engine = engine
        self._outlet = outlet
        self._active = active
        self._committer = committer
        self._source: Source | None = None
        self._revoke_timeout = engine.spec.group.revoke_timeout
        self.closing = False
        """Once true, callbacks only tidy up: records are drained and committed already."""
        self.meanwhile: Callable[[], None] = lambda: None
        """Called each ``MOMENT`` of a drain: the thread in it may have other duties."""

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""
        self._source = source

    def assigned(self, places: Sequence[Place]) -> None:
        """Own what was assigned; its pause flags were cleared when it was last given up."""
        engine = self._engine
        with engine.mutex:
            for place in places:
                if place in engine.owned:
                    message = f"{place[0]}/{place[1]} was assigned while it was owned"
                    raise RuntimeError(message)
                engine.owned[place] = Owned(place, engine.board.topic_index(place[0]), engine.number_of(place))
            engine.meters.rebalanced("assigned")
            if self._source is not None and self._source.begin_paused:
                # The client pauses them in this very callback; before the next poll nobody else would know.
                engine.paused |= set(places)
            engine.is_out = False
            if engine.joined_at is None:
                engine.joined_at = time.monotonic()
        asked = engine.quarantine.ask(places)
        self._committer.notes.read(places)
        engine.quarantine.await_answer(asked, self.meanwhile)
        engine.quarantine.identify()
        logger.info("partitions.assigned", extra={"fields": {"partitions": _words(places)}})
        if places:
            self._active.partitions_assigned(list(places))
        self._tell()

    def revoked(self, places: Sequence[Place]) -> None:
        """Drain what can finish in time, commit it, and fence the rest by ending this ownership."""
        if not self.closing:
            self._drain(places)
        self._disown(places, lost=False)
        with self._engine.mutex:
            self._engine.revoking = False

    def lost(self, places: Sequence[Place]) -> None:
        """Drop everything: another member may own these partitions already, nothing may be committed."""
        with self._engine.mutex:
            self._engine.is_out = True
        self._disown(places, lost=True)

    def _drain(self, places: Sequence[Place]) -> None:
        """Wait for what is in a handler, then fence: nothing of these partitions is begun or counted any more.

        The fence comes before the commit: while that waits for the broker, a retry that is due would be begun,
        and the next owner would begin the same record.
        """
        engine = self._engine
        gone = set(places)
        words = engine.board.words
        deadline = time.monotonic() + self._revoke_timeout
        with engine.mutex:
            engine.revoking = True
            words[H_WAIT] = Wait.REVOKING
            engine.purge(gone)
        while (commit := self._fence(places, deadline)) is None:
            words[H_TICK_NS] = time.monotonic_ns()  # a stated wait with a deadline is no hang
            self.meanwhile()
        commit()

    def _fence(self, places: Sequence[Place], deadline: float) -> Callable[[], None] | None:
        """Fence partitions with nothing in its handler, or at the deadline, and return what commits their last.

        Before, wait a moment and return ``None``. Looked and done in one hold of the mutex: what was put back in
        line just now would be taken between the two, and begun behind the fence.
        """
        engine, gone = self._engine, set(places)
        self._outlet.collect()
        with engine.mutex:
            left = min(deadline, engine.drain_by) - time.monotonic()
            is_working = engine.lanes.working(gone) or self._outlet.is_waited_for(gone)
            if left > 0 and engine.end is None and is_working:
                engine.progress.wait(min(left, MOMENT))
                return None
            mine = [engine.owned[place] for place in places if place in engine.owned]
            commit = self._committer.last_of(mine)
            for owned in mine:
                owned.revoked = True
            engine.purge(gone)
            return commit

    def _disown(self, places: Sequence[Place], *, lost: bool) -> None:
        engine = self._engine
        with engine.mutex:
            if not self.closing:
                engine.meters.rebalanced("lost" if lost else "revoked")
            engine.purge(set(places))
            self._committer.notes.forget(places)
            for place in places:
                owned = engine.owned.pop(place, None)
                if owned is not None:
                    owned.revoked = True
                    engine.dirty.discard(owned)
                    engine.quarantine.forget(owned)
                    self._outlet.drop(owned)
                engine.at_end.discard(place)
                engine.stopped.pop(place, None)
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
        self._engine.link.send("assigned", partitions=owned[:MAX_PARTITIONS])


def _words(places: Sequence[Place]) -> str:
    return " ".join(f"{topic}/{partition}" for topic, partition in places) or "none"
