import pytest

from supervisor.core.event_query import EventQuery, matches, severities
from supervisor.core.events import Event, Severity

EVENT = Event("worker.exited", Severity.WARNING, 100.0, group="orders", slot=1)


def test_severities_are_a_scale_from_the_least_urgent_up() -> None:
    assert severities(Severity.WARNING) == (Severity.WARNING, Severity.CRITICAL)
    assert severities(Severity.DEBUG) == tuple(Severity)


@pytest.mark.parametrize(
    "query",
    [
        EventQuery(),
        EventQuery(group="orders"),
        EventQuery(slot=1),
        EventQuery(after=100.0),
        EventQuery(severity=Severity.WARNING),
    ],
)
def test_an_event_is_wanted_that_fits_every_condition(query: EventQuery) -> None:
    assert matches(query, EVENT)


@pytest.mark.parametrize(
    "query",
    [
        EventQuery(group="other"),
        EventQuery(slot=0),
        EventQuery(after=100.1),
        EventQuery(severity=Severity.CRITICAL),
        EventQuery(group="orders", slot=0),
    ],
)
def test_an_event_is_not_wanted_that_fails_one(query: EventQuery) -> None:
    assert not matches(query, EVENT)
