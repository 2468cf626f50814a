"""What all slots of a supervisor share: who starts processes, who notices their end, who is told."""

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.parent.deaths.ledger import Ledger
from supervisor.parent.deaths.oom import OomWatch
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.launcher import Launcher
from supervisor.parent.slots.breakers import Breakers
from supervisor.parent.slots.cgroups import Cgroups
from supervisor.parent.slots.floods import Floods
from supervisor.parent.slots.gate import StartGate
from supervisor.parent.slots.tallies import Tallies
from supervisor.parent.store.eventlog import EventLog


@dataclass(frozen=True, slots=True)
class House:
    """``stirred`` is called with the name of the group of which a slot is not what it was, ``changed`` after it.

    ``pause`` is called with group, slot and text when a worker wants its whole group paused.
    """

    launcher: Launcher
    exits: ExitWatch
    starts: StartGate
    leaves: StartGate
    events: EventLog
    orphan_grace: Callable[[], float]
    stirred: Callable[[str], None]
    changed: Callable[[], None]
    pause: Callable[[str, int, str], None]
    cgroups: Cgroups
    oom: OomWatch
    breakers: Breakers
    ledger: Ledger
    tallies: Tallies
    floods: Floods
