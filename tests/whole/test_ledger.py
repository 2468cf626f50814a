"""The judges of the chaos tests say so when a promise is broken."""

from tests.whole.ledger import Line, out_of_order, shared_slots, side_by_side


def line(word: str, offset: int, at: float, *, key: str = "k", pid: int = 1, slot: int = 0) -> Line:
    """Return a note of partition 0."""
    return Line(word, "t", 0, offset, key, 1, at, "a", slot, 1, pid)


def test_a_record_that_begins_before_an_earlier_one_of_its_lane_is_done_is_out_of_order() -> None:
    overtaken = [line("start", 0, 1.0), line("start", 1, 2.0), line("done", 0, 3.0), line("done", 1, 4.0)]
    never_done = [line("start", 0, 1.0), line("start", 1, 2.0, pid=2), line("done", 1, 3.0, pid=2)]
    other_key = [line("start", 0, 1.0), line("start", 1, 2.0, key="other"), line("done", 0, 3.0)]

    assert len(out_of_order(overtaken, by_key=True)) == 1
    assert len(out_of_order(never_done, by_key=True)) == 1
    assert out_of_order(other_key, by_key=True) == []
    assert len(out_of_order(other_key, by_key=False)) == 1


def test_a_record_done_again_after_a_crash_is_in_order() -> None:
    again = [
        line("start", 0, 1.0),
        line("done", 0, 2.0),
        line("start", 1, 3.0),
        line("start", 0, 4.0, pid=2),
        line("done", 0, 5.0, pid=2),
        line("start", 1, 6.0, pid=2),
        line("done", 1, 7.0, pid=2),
    ]

    assert out_of_order(again, by_key=True) == []
    assert side_by_side(again, by_key=True) == []


def test_one_process_with_two_records_of_a_lane_in_hand_works_them_side_by_side() -> None:
    both = [line("start", 0, 1.0), line("start", 1, 2.0), line("done", 0, 3.0)]

    assert len(side_by_side(both, by_key=True)) == 1


def test_two_processes_that_work_in_turns_share_a_slot() -> None:
    turns = [line("start", 0, 1.0), line("start", 1, 2.0, pid=2), line("done", 0, 3.0)]
    heirs = [line("start", 0, 1.0), line("done", 0, 2.0), line("start", 1, 3.0, pid=2)]

    assert len(shared_slots(turns)) == 1
    assert shared_slots(heirs) == []
