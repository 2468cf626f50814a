"""The gate of the lanes: while it is closed no record is begun, and what was given up already goes on."""

from supervisor.core.lane import Lane
from supervisor.core.lanes import ALONE, BREAKER, FLOOD, Lanes

PLACE = ("t", 0)


def lanes_of(*names: str) -> Lanes[str]:
    lanes: Lanes[str] = Lanes()
    for name in names:
        lanes.add(name, PLACE, name, size=1)
    return lanes


def test_a_dead_letter_that_waits_for_its_next_try_is_sent_while_all_is_held_back() -> None:
    lanes = lanes_of("a", "b")
    lane = lanes.take(now=0.0)
    assert lane is not None
    lane.letter = object()
    lanes.wait(lane, due=5.0)

    lanes.close(BREAKER, now=1.0)

    assert lanes.next_due() == 5.0
    assert lanes.take(now=4.0) is None
    assert lanes.take(now=5.0) is lane
    assert lanes.take(now=5.0) is None, "the other one is a record"


def test_a_dead_letter_that_is_in_line_when_the_gate_closes_is_sent_all_the_same() -> None:
    lanes = lanes_of("a")
    lane = lanes.take(now=0.0)
    assert lane is not None
    lane.letter = object()
    lanes.put_back(lane)

    lanes.close(BREAKER, now=1.0)

    assert lanes.take(now=1.0) is lane


def test_one_trial_is_one_record_and_the_first_in_line() -> None:
    lanes = lanes_of("a", "b", "c")
    first = lanes.take(now=0.0)
    assert first is not None
    lanes.close(BREAKER, now=0.0)
    lanes.put_back(first)
    lanes.trials = 1

    assert lanes.ready == 1
    assert lanes.exchange(_taken(lanes), now=0.0) is None
    assert lanes.trial is first
    assert lanes.ready == 0


def test_what_two_hold_back_is_free_when_both_let_go() -> None:
    lanes = lanes_of("a")
    lanes.close(BREAKER, now=0.0)
    lanes.close(FLOOD, now=0.0)

    lanes.open(BREAKER)

    assert lanes.take(now=0.0) is None
    lanes.open(FLOOD)
    assert lanes.take(now=0.0) is not None


def test_alone_by_itself_hands_lanes_out_as_they_come() -> None:
    lanes = lanes_of("a", "b")
    lanes.close(ALONE, now=0.0)

    taken = [lanes.take(now=0.0), lanes.take(now=0.0)]

    assert [lane.head for lane in taken if lane is not None] == ["a", "b"]


def _taken(lanes: Lanes[str]) -> Lane[str]:
    lane = lanes.take(now=0.0)
    assert lane is not None
    return lane
