"""Keep the lock that lets only one supervisor run here, also when somebody deletes its file."""

from supervisor.core.events import Severity
from supervisor.parent.running.places import AlreadyRunningError, ParentLock, UnsafePlaceError
from supervisor.parent.store.eventlog import EventLog


class LockWatch:
    """Looks after the lock file, in the parent's loop. ``pulse`` is called about once a second: two system calls."""

    def __init__(self, lock: ParentLock, events: EventLog) -> None:
        self._lock = lock
        self._events = events
        self._complaint = ""

    def pulse(self) -> None:
        """Take the lock anew where its file is gone; say once when another supervisor was faster."""
        try:
            if not self._lock.renew():
                return
        except AlreadyRunningError as error:
            what = str(error).partition("\n")[0]
            self._complain(f"{what}; help: stop one of the two, they end each other's workers")
        except (UnsafePlaceError, OSError) as error:
            self._complain(f"{error}; help: nothing keeps a second supervisor out until the file can be made")
        else:
            self._complaint = ""
            text = f"{self._lock.path} was deleted by somebody; it is there again, and locked"
            self._events.tell("supervisor.lock_restored", Severity.WARNING, text)

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            whole = f"the lock file was deleted by somebody: {text}"
            self._events.tell("supervisor.lock_lost", Severity.CRITICAL, whole)
