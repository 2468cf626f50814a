from supervisor.core.ends import Goal, Progress, progress

NEW = Goal("t", 0, 0, 10, -1)
MIDWAY = Goal("t", 1, 4, 20, 12)
EMPTY = Goal("t", 2, 0, 0, -1)
EMPTIED = Goal("t", 3, 30, 30, 7)
TRIMMED = Goal("t", 4, 5, 9, 2)


def test_what_is_committed_counts_and_nothing_else() -> None:
    goals = [NEW, MIDWAY, EMPTY, EMPTIED, TRIMMED]

    assert progress(goals, {}) == Progress(0, 10 + 8 + 4, (("t", 0), ("t", 1), ("t", 4)))
    assert progress(goals, {("t", 0): 10, ("t", 1): 15}) == Progress(13, 22, (("t", 1), ("t", 4)))
    assert progress(goals, {("t", 0): 99, ("t", 1): 20, ("t", 4): 9}) == Progress(22, 22, ())


def test_partitions_that_hold_no_records_are_done_whatever_was_committed() -> None:
    assert progress([EMPTY, EMPTIED], {}).left == ()


def test_an_offset_that_goes_back_is_no_progress() -> None:
    assert progress([MIDWAY], {("t", 1): 3}) == Progress(0, 8, (("t", 1),))
