"""Whom a death accuses, by what the parent saw and what the worker said."""

from dataclasses import replace

import pytest

from supervisor.core.accusations import Accusation, span
from supervisor.core.board import InFlight
from supervisor.core.cases import Cause
from supervisor.core.crashfile import MOST_STACK
from supervisor.core.events import Event
from supervisor.core.progress import Verdict
from supervisor.core.slot import Rung, Slot
from supervisor.parent.deaths.deaths import accusation_of
from supervisor.parent.processes.told import Told, tell
from supervisor.parent.store.eventlog import EventLog

ONE = InFlight(cell=0, topic="orders", partition=1, offset=812, last_offset=812, sequence=7, attempt=1, thread=1)
OTHER = replace(ONE, cell=1, offset=900, last_offset=900)
HUNG = Slot(ready=True, hung=True, rung=Rung.KILL)
LATE = Verdict("hangs", healthy=False, overdue=(span(ONE), span(OTHER)), responsive=False)


@pytest.mark.parametrize(("sequence", "named"), [(7, ("orders", 1, 812)), (6, None)])
def test_an_async_handler_that_its_worker_cancelled_in_this_very_run_is_named(
    sequence: int, named: tuple[str, int, int] | None
) -> None:
    told = Told()
    told.cancelled({"type": "cancelled", "cell": 0, "sequence": sequence})

    accusation = accusation_of(HUNG, (ONE, OTHER), told, stack="", given_up=LATE, accused=set())

    assert accusation.named == named
    assert (accusation == Accusation(named, Cause.TIMEOUT)) is (named is not None)


@pytest.mark.parametrize(
    ("stack", "attached"),
    [
        ("Handler:\n\x1b[2Jmain", {"stack": "Handler:\n?[2Jmain"}),
        ("\ud800" * MOST_STACK * 2, {"stack": "?" * MOST_STACK}),
        ("", {}),
        (7, {}),
    ],
)
def test_where_a_worker_stood_is_attached_to_its_event_within_bounds_and_as_plain_text(
    stack: object, attached: dict[str, str]
) -> None:
    log = EventLog()
    heard: list[Event] = []
    log.listen(heard.append)

    tell(log, {"type": "event", "name": "handler.cancelled", "stack": stack}, group="orders", slot=0)

    assert [event.attachments for event in heard] == [attached]
