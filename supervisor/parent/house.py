"""What all slots of a supervisor share: who starts processes, who notices their end, who is told."""

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.parent.breakers import Breakers
from supervisor.parent.cgroups import Cgroups
from supervisor.parent.eventlog import EventLog
from supervisor.parent.exits import ExitWatch
from supervisor.parent.floods import Floods
from supervisor.parent.gate import StartGate
from supervisor.parent.launcher import Launcher
from supervisor.parent.ledger import Ledger
from supervisor.parent.oom import OomWatch
from supervisor.parent.tallies import Tallies


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
