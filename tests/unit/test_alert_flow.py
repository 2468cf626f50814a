"""Who is told at once, what is told together, and what is not told again."""

from dataclasses import replace

from supervisor.core.alert_flow import FIRING, RESOLVED, Flow, FlowRules, Silence, without_ended
from supervisor.core.events import Event, Severity

RULES = FlowRules(group_wait=5.0, repeat=600.0, rate=3)


def event(name: str = "worker.exited", severity: Severity = Severity.WARNING, **fields: object) -> Event:
    group, slot = str(fields.pop("group", "orders")), fields.pop("slot", 0)
    assert slot is None or isinstance(slot, int)
    return Event(name, severity, 1000.0, group=group, slot=slot, text=f"text of {slot}", fields=dict(fields))  # type: ignore[arg-type]


def firing(condition: str = "lag", name: str = FIRING, slot: int | None = None) -> Event:
    severity = Severity.WARNING if name == FIRING else Severity.INFO
    return event(name, severity, alert=condition, slot=slot)


def over(condition: str = "lag", slot: int | None = None) -> Event:
    return firing(condition, RESOLVED, slot)


def names(events: list[Event]) -> list[str]:
    return [one.name for one in events]


def test_a_critical_event_is_told_at_once() -> None:
    assert names(Flow(RULES).take(event(severity=Severity.CRITICAL), now=0.0, at=0.0)) == ["worker.exited"]


def test_what_nobody_needs_to_know_is_not_told() -> None:
    flow = Flow(RULES)

    assert flow.take(event(severity=Severity.INFO), now=0.0, at=0.0) == []
    assert flow.due(now=100.0, at=0.0) == []


def test_warnings_of_one_kind_are_told_together() -> None:
    flow = Flow(RULES)
    for slot in (2, 0, 1, 1):
        assert flow.take(event(slot=slot), now=0.0, at=0.0) == []

    (told,) = flow.due(now=5.0, at=0.0)

    assert (told.fields["count"], told.fields["slots"], told.slot) == (4, "0, 1, 2", None)
    assert told.text == "4 times within 5s; the last: text of 1"


def test_the_same_again_is_told_once_per_repeat_with_its_number() -> None:
    flow = Flow(RULES)
    flow.take(event(severity=Severity.CRITICAL), now=0.0, at=0.0)
    for at in range(1, 8):
        assert flow.take(event(severity=Severity.CRITICAL), now=float(at), at=0.0) == []

    assert flow.due(now=599.0, at=0.0) == []
    (told,) = flow.due(now=600.0, at=0.0)
    assert told.fields["count"] == 7


def test_another_slot_is_news_before_the_repeat_is_over() -> None:
    flow = Flow(RULES)
    flow.take(event(slot=0), now=0.0, at=0.0)
    flow.due(now=5.0, at=0.0)

    flow.take(event(slot=1), now=10.0, at=0.0)

    assert [one.slot for one in flow.due(now=15.0, at=0.0)] == [1]


def test_what_became_critical_is_told_at_once() -> None:
    flow = Flow(RULES)
    flow.take(event(), now=0.0, at=0.0)
    flow.due(now=5.0, at=0.0)

    assert len(flow.take(event(severity=Severity.CRITICAL), now=6.0, at=0.0)) == 1


def test_deaths_of_another_class_are_another_line() -> None:
    flow = Flow(RULES)
    for kind in ("crash", "oom"):
        flow.take(replace(event(), fields={"class": kind}), now=0.0, at=0.0)

    assert len(flow.due(now=5.0, at=0.0)) == 2


def test_above_the_rate_one_notification_says_what_was_held_back() -> None:
    flow = Flow(RULES)
    told = [
        one
        for number in range(10)
        for one in flow.take(event(f"e{number}", Severity.CRITICAL), now=float(number), at=0.0)
    ]

    assert names(told) == ["e0", "e1", "e2"]
    assert flow.due(now=59.0, at=0.0) == []
    (summary,) = flow.due(now=60.5, at=7.0)
    assert (summary.name, summary.fields["count"], summary.severity) == ("alerts.held_back", 7, Severity.CRITICAL)
    assert flow.due(now=70.0, at=0.0) == []


def test_nobody_is_told_of_what_was_held_back_while_that_is_silenced() -> None:
    for name in ("*", "alerts.held_back"):
        flow = Flow(RULES)
        for number in range(10):
            flow.take(event(f"e{number}", Severity.CRITICAL), now=float(number), at=0.0)
        flow.silences = (Silence(1, name, until=100.0),)

        assert flow.due(now=60.5, at=60.5) == []
        assert flow.due(now=200.0, at=200.0) == []
        assert flow.silenced == 7


def test_what_was_held_back_is_told_while_something_else_or_one_group_is_silenced() -> None:
    for silence in (Silence(1, "e*", until=100.0), Silence(1, "*", until=100.0, group="orders")):
        flow = Flow(RULES)
        for number in range(10):
            flow.take(event(f"e{number}", Severity.CRITICAL), now=float(number), at=0.0)
        flow.silences = (silence,)

        assert names(flow.due(now=60.5, at=60.5)) == ["alerts.held_back"]


def test_a_condition_is_told_whatever_the_rate() -> None:
    flow = Flow(RULES)
    for number in range(10):
        flow.take(event(f"e{number}", Severity.CRITICAL), now=0.0, at=0.0)

    assert flow.take(firing(), now=1.0, at=0.0) == []
    assert names(flow.due(now=1.0, at=0.0)) == [FIRING]
    assert names(flow.take(over(), now=2.0, at=0.0)) == [RESOLVED]


def test_a_condition_of_many_workers_is_one_message_and_its_end_is_one() -> None:
    flow = Flow(RULES)
    for slot in range(64):
        flow.take(firing("broker_unreachable", slot=slot), now=0.0, at=0.0)

    (told,) = flow.due(now=0.0, at=0.0)
    assert (told.slot, told.fields["count"]) == (None, 64)
    assert told.text == "text of 63 (64 slots: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 54 more)"
    assert flow.due(now=3600.0, at=0.0) == []

    ends = [one for slot in range(64) for one in flow.take(over("broker_unreachable", slot), now=4000.0, at=0.0)]
    assert [(one.name, one.slot) for one in ends] == [(RESOLVED, None)]
    assert flow.take(over("broker_unreachable", 63), now=4001.0, at=0.0) == []


def test_that_more_slots_are_concerned_is_told_together_and_within_the_rate() -> None:
    flow = Flow(RULES)
    flow.take(firing("worker_down", slot=1), now=0.0, at=0.0)
    (told,) = flow.due(now=0.0, at=0.0)
    assert (told.slot, told.text, told.fields["slots"]) == (None, "text of 1 (slot 1)", "1")

    flow.take(firing("worker_down", slot=3), now=10.0, at=0.0)
    flow.take(firing("worker_down", slot=2), now=12.0, at=0.0)
    assert flow.due(now=14.0, at=0.0) == []
    (told,) = flow.due(now=15.0, at=0.0)
    assert told.text == "text of 2 (3 slots: 1, 2, 3)"

    for number in range(3):
        flow.take(event(f"e{number}", Severity.CRITICAL), now=20.0, at=0.0)
    flow.take(firing("worker_down", slot=4), now=20.0, at=0.0)
    assert flow.due(now=25.0, at=0.0) == []
    assert names(flow.due(now=100.0, at=0.0)) == ["alerts.held_back"]


def test_a_slot_for_which_a_condition_is_over_before_it_was_told_is_not_told() -> None:
    flow = Flow(RULES)
    flow.take(firing("worker_down", slot=1), now=0.0, at=0.0)
    flow.due(now=0.0, at=0.0)

    flow.take(firing("worker_down", slot=2), now=10.0, at=0.0)
    assert flow.take(over("worker_down", 2), now=11.0, at=0.0) == []

    assert flow.due(now=700.0, at=0.0) == []
    assert flow.told("worker_down", "orders", 1)
    assert not flow.told("worker_down", "orders", 2)
    assert names(flow.take(over("worker_down", 1), now=701.0, at=0.0)) == [RESOLVED]


def test_a_silence_of_one_slot_does_not_hide_a_condition_of_another() -> None:
    flow = Flow(RULES)
    flow.silences = (Silence(1, "worker_down", until=100.0, slot=1),)

    flow.take(firing("worker_down", slot=1), now=0.0, at=0.0)
    assert flow.due(now=1.0, at=1.0) == []
    flow.take(firing("worker_down", slot=2), now=5.0, at=5.0)

    assert names(flow.due(now=5.0, at=5.0)) == [FIRING]


def test_what_an_earlier_supervisor_told_of_two_slots_is_over_when_it_is_for_both() -> None:
    flow = Flow(RULES)
    flow.restore("worker_down", "orders", 1, now=0.0)
    flow.restore("worker_down", "orders", 2, now=0.0)

    assert flow.take(over("worker_down", 1), now=10.0, at=0.0) == []
    assert names(flow.take(over("worker_down", 2), now=10.0, at=0.0)) == [RESOLVED]


def test_the_end_of_what_nobody_was_told_of_is_not_told() -> None:
    flow = Flow(RULES)
    flow.silences = (Silence(1, "lag", until=100.0),)
    flow.take(firing(), now=0.0, at=0.0)

    assert flow.take(over(), now=1.0, at=1.0) == []


def test_the_end_of_what_people_were_told_of_is_told_though_it_is_silenced_meanwhile() -> None:
    flow = Flow(RULES)
    flow.take(firing(), now=0.0, at=0.0)
    flow.due(now=0.0, at=0.0)
    flow.silences = (Silence(1, "*", until=100.0),)

    assert names(flow.take(over(), now=1.0, at=1.0)) == [RESOLVED]


def test_a_condition_that_outlives_its_silence_is_told_then() -> None:
    flow = Flow(RULES)
    flow.silences = (Silence(1, "lag", until=100.0),)

    assert flow.take(firing(), now=0.0, at=0.0) == []
    assert flow.due(now=99.0, at=99.0) == []
    assert names(flow.due(now=101.0, at=101.0)) == [FIRING]
    assert flow.due(now=102.0, at=102.0) == []


def test_a_silence_covers_its_name_group_and_slot_only() -> None:
    silence = Silence(1, "worker.*", until=100.0, group="orders", slot=1)

    assert silence.covers(event(slot=1), at=0.0)
    assert not silence.covers(event(slot=0), at=0.0)
    assert not silence.covers(event(slot=1, group="bills"), at=0.0)
    assert not silence.covers(event("slot.fatal", slot=1), at=0.0)
    assert not silence.covers(event(slot=1), at=100.0)


def test_silenced_events_are_counted_and_forgotten() -> None:
    flow = Flow(RULES)
    flow.silences = (Silence(1, "*", until=100.0),)

    assert flow.take(event(severity=Severity.CRITICAL), now=0.0, at=0.0) == []
    assert flow.silenced == 1
    assert flow.due(now=1000.0, at=1000.0) == []


def test_what_waits_when_it_is_silenced_is_not_told_later() -> None:
    flow = Flow(RULES)
    flow.take(event(), now=0.0, at=0.0)
    flow.silences = (Silence(1, "worker.*", until=100.0),)

    assert flow.due(now=5.0, at=5.0) == []
    assert flow.due(now=200.0, at=200.0) == []
    assert flow.silenced == 1


def test_ended_silences_go() -> None:
    silences = (Silence(1, "a", until=5.0), Silence(2, "b", until=6.0))

    assert [one.number for one in without_ended(silences, at=5.0)] == [2]


def test_a_silence_of_one_slot_does_not_silence_what_waits_of_another() -> None:
    for end in ("due", "rest"):
        flow = Flow(RULES)
        flow.take(event(slot=2), now=0.0, at=0.0)
        flow.take(event(slot=1), now=1.0, at=0.0)
        flow.silences = (Silence(1, "worker.exited", until=100.0, slot=1),)

        (told,) = getattr(flow, end)(now=5.0, at=5.0)

        assert told.fields["slots"] == "1, 2"


def test_what_is_a_condition_is_not_told_as_an_event_too() -> None:
    flow = Flow(RULES)

    for name in ("breaker.opened", "breaker.closed", "flood.tripped", "flood.resumed"):
        assert flow.take(event(name, Severity.CRITICAL, slot=None), now=0.0, at=0.0) == []
    assert flow.due(now=600.0, at=0.0) == []
