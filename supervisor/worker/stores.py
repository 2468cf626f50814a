"""A store of keys that does not answer, as people are told of it. Main thread."""

from supervisor.core.durations import format_duration
from supervisor.core.events import Severity
from supervisor.worker.engine import Engine


class StoreWatch:
    """Looks at the group's store of keys, where it has one, and tells once when it hangs and once when it answers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_told = False

    def look(self) -> None:
        """Look; about once a second."""
        engine, guard = self._engine, self._engine.guard
        found = guard.hanging() if guard is not None else None
        if guard is None or (found is not None) == self._is_told:
            return
        self._is_told = found is not None
        if found is None:
            engine.event("idempotency.answers", Severity.INFO, f"{guard.store} answers again", store=guard.store)
            return
        hook, seconds = found
        text = f"{guard.store} has not returned from {hook}() for {format_duration(seconds)}; its records wait. "
        help_ = "help: see what it waits for; a store should give up after a time of its own"
        engine.event("idempotency.hangs", Severity.CRITICAL, text + help_, store=guard.store, hook=hook)
