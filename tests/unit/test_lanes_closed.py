"""The gate of the lanes: while it is closed no record is begun, and what was given up already goes on."""

from supervisor.core.alone import COMMIT_PATIENCE
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


class Suspect:
    """A ``Gate`` with one suspect, the lane "s"."""

    def __init__(self) -> None:
        self.committed = self.over = False
        self.asked = 0

    def needs_alone(self, lane: Lane[str]) -> bool:
        return lane.head == "s"

    def is_committed(self) -> bool:
        self.asked += 1
        return self.committed

    def is_over(self) -> bool:
        return self.over


def suspected(*names: str) -> tuple[Lanes[str], Suspect]:
    lanes, gate = lanes_of(*names), Suspect()
    lanes.alone.gate = gate
    lanes.close(ALONE, now=0.0)
    return lanes, gate


def test_a_suspect_waits_for_what_is_in_hand_and_then_for_its_commit_and_nobody_passes_it() -> None:
    lanes, gate = suspected("a", "s", "b")
    first = _taken(lanes)

    assert lanes.take(now=1.0) is None
    assert gate.asked == 0, "what is in hand will be settled, too"
    assert lanes.exchange(first, now=2.0) is None
    assert (lanes.ready, lanes.next_due()) == (0, 2.0 + COMMIT_PATIENCE)
    gate.committed = True
    lanes.alone.release()
    assert lanes.ready == 2
    suspect = lanes.take(now=2.1)
    assert suspect is not None
    assert suspect.head == "s"
    assert lanes.take(now=2.1) is None
    assert (lanes.ready, lanes.next_due()) == (0, None)


def test_a_suspect_whose_commit_is_not_answered_begins_in_the_end_however_often_it_is_asked_for() -> None:
    lanes, _ = suspected("s")

    for moment in (0.0, COMMIT_PATIENCE * 0.5, COMMIT_PATIENCE * 0.99):
        assert lanes.take(now=moment) is None
        lanes.alone.release()

    assert lanes.take(now=COMMIT_PATIENCE) is not None


def test_a_suspect_that_is_taken_away_while_it_waits_holds_up_nobody() -> None:
    lanes, gate = suspected("s")
    assert lanes.take(now=0.0) is None

    lanes.purge({PLACE})
    gate.over = True
    lanes.add("a", PLACE, "a", size=1)

    assert lanes.next_due() is None
    assert lanes.ready == 1
    assert lanes.take(now=0.1) is not None


def test_a_dead_letter_that_is_due_is_sent_while_a_suspect_waits_for_its_commit() -> None:
    lanes, _ = suspected("l", "s")
    letter = _taken(lanes)
    letter.letter = object()
    lanes.wait(letter, due=0.5)

    assert lanes.take(now=0.0) is None
    assert lanes.next_due() == 0.5
    assert lanes.take(now=0.5) is letter
    assert lanes.next_due() is None, "whoever is done with it looks for the next"


def _taken(lanes: Lanes[str]) -> Lane[str]:
    lane = lanes.take(now=0.0)
    assert lane is not None
    return lane


def test_a_letter_that_nobody_took_is_told_from_a_record_that_waits_for_its_next_attempt() -> None:
    lanes = lanes_of("a", "b")
    record, letter = lanes.take(now=0.0), lanes.take(now=0.0)
    assert record is not None
    assert letter is not None

    lanes.wait(record, due=5.0)
    assert not lanes.has_letter_waiting()
    letter.letter = object()
    lanes.wait(letter, due=5.0)
    assert lanes.has_letter_waiting()
    assert lanes.take(now=5.0) is record
    assert lanes.take(now=5.0) is letter

    assert not lanes.has_letter_waiting()
