"""The notifier of now: there may be none, and a reload may put another in its place."""

from collections.abc import Callable

from supervisor.core.events import Event
from supervisor.core.spec import NotifierSpec
from supervisor.parent.eventlog import EventLog
from supervisor.parent.exits import ExitWatch
from supervisor.parent.notifier import Notifier


class Alerts:
    """Keeps one notifier, or none when nobody is to be told."""

    def __init__(self, program: tuple[str, ...], *, exits: ExitWatch, events: EventLog) -> None:
        self._make: Callable[[NotifierSpec], Notifier] = lambda spec: Notifier(
            spec, program, exits=exits, events=events
        )
        self._notifier: Notifier | None = None

    def start(self, spec: NotifierSpec | None) -> None:
        """Start a notifier, if anybody is to be told."""
        if spec is not None:
            self._notifier = self._make(spec)
            self._notifier.start()

    async def replace(self, spec: NotifierSpec | None) -> None:
        """Put another notifier in the place of this one, which is told what it still has to tell; no event is lost."""
        old, self._notifier = self._notifier, None if spec is None else self._make(spec)
        if old is not None:
            old.retire()
            await old.stop()
        if self._notifier is not None:
            self._notifier.start()

    def offer(self, event: Event) -> None:
        """See ``Notifier.offer``; without a notifier nobody is told."""
        if self._notifier is not None:
            self._notifier.offer(event)

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
