"""Find partitions that our own coming back may have left with nobody, and have the group share them out again.

A static member that died while partitions moved comes back without a rebalance, see ``kafka.holes``. The cure
is to leave and join once: two rebalances, in which the others only gain and give back.
"""

import threading
import time
from typing import TYPE_CHECKING

from supervisor.core.lane import Place
from supervisor.core.retry_topics import subscription
from supervisor.worker.engine import Engine

if TYPE_CHECKING:
    from supervisor.kafka.holes import Holes

FIRST_LOOK = 3.0
EVERY = 2.0
PATIENCE = 120.0
MARGIN = 3.0
"""Seconds beyond the group's ``revoke_timeout`` that a partition may be on its way from one member to another."""


class Mending:
    """Look at the group for a while after this worker joined it; a thread of its own, which ends by itself."""

    def __init__(self, engine: Engine, *, is_first: bool = False) -> None:
        self._engine = engine
        self._is_first = is_first
        self._group = engine.spec.group
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to look, if this member is one whose restart nobody notices.

        Of those whose slots had no process before (``is_first``: a new group, or a host that lost its runtime folder)
        the first slot looks for all: the client for it costs half a megabyte.
        """
        spec = self._engine.spec
        if spec.is_static and (not self._is_first or spec.slot == 0):
            threading.Thread(target=self._run, name="mending", daemon=True).start()

    def end(self) -> None:
        """Stop looking; does not wait."""
        self._stop.set()

    def _run(self) -> None:
        while self._engine.joined_at is None:
            if self._stop.wait(0.5):
                return
        if self._stop.wait(FIRST_LOOK):
            return
        from supervisor.kafka.holes import Holes  # noqa: PLC0415 - never before the worker is back at work

        self._look(Holes(self._group.kafka, self._group.name, subscription(self._group)))

    def _look(self, holes: "Holes") -> None:
        since: dict[Place, float] = {}
        deadline = time.monotonic() + PATIENCE + self._group.revoke_timeout
        while time.monotonic() < deadline:
            found = holes.find()
            now = time.monotonic()
            if found is not None:
                since = {place: since.get(place, now) for place in found}
                if not since:
                    return
                (name, number), oldest = min(since.items(), key=lambda one: one[1])
                if now - oldest >= self._group.revoke_timeout + MARGIN:
                    self._engine.rejoin = f"{name}/{number}: a partition belongs to nobody"
                    return
            if self._stop.wait(EVERY):
                return
