"""The notifier of now: there may be none, and a reload may put another in its place."""

from collections.abc import Callable

from supervisor.core.child_specs import NotifierSpec
from supervisor.core.events import Event
from supervisor.parent.alerts.deliveries import Deliveries
from supervisor.parent.alerts.notifier import Notifier
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.store.eventlog import EventLog

MOST_NAMES = 300


class Alerts:
    """Keeps one notifier, or none when nobody is to be told."""

    def __init__(self, program: tuple[str, ...], *, exits: ExitWatch, events: EventLog) -> None:
        self.deliveries = Deliveries()
        self._make: Callable[[NotifierSpec], Notifier] = lambda spec: Notifier(
            spec, program, exits=exits, events=events, deliveries=self.deliveries
        )
        self._notifier: Notifier | None = None
        self._dropped = 0
        self.counts: dict[tuple[str, str], int] = {}
        """How many alerts were given to a notifier, by name and severity."""

    def start(self, spec: NotifierSpec | None) -> None:
        """Start a notifier, if anybody is to be told."""
        if spec is not None:
            self._notifier = self._make(spec)
            self._notifier.start()

    async def replace(self, spec: NotifierSpec | None) -> None:
        """Put another notifier in the place of this one, which is told what it still has to tell; no event is lost."""
        old, self._notifier = self._notifier, None if spec is None else self._make(spec)
        if old is not None:
            self._dropped += old.dropped
            old.retire()
            await old.stop()
        self.deliveries.keep(any_plugin=spec is not None)
        if self._notifier is not None:
            self._notifier.start()

    def offer(self, event: Event) -> None:
        """See ``Notifier.offer``; without a notifier nobody is told."""
        if self._notifier is None:
            return
        self._notifier.offer(event)
        name = (event.name, event.severity.value)
        if name in self.counts or len(self.counts) < MOST_NAMES:
            self.counts[name] = self.counts.get(name, 0) + 1

    @property
    def dropped(self) -> int:
        """For how many there was no room."""
        return self._dropped + (self._notifier.dropped if self._notifier is not None else 0)

    @property
    def is_running(self) -> bool:
        """Whether there is a process to tell anything to."""
        return self._notifier is not None and self._notifier.child is not None

    def pump(self) -> None:
        """See ``Notifier.pump``."""
        if self._notifier is not None:
            self._notifier.pump()

    async def stop(self) -> None:
        """See ``Notifier.stop``."""
        if self._notifier is not None:
            await self._notifier.stop()
