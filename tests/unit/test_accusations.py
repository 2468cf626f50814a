from dataclasses import replace

from supervisor.core.accusations import NOBODY, Accusation, accuse, crashed_thread, span
from supervisor.core.board import InFlight
from supervisor.core.cases import Cause

ONE = InFlight(cell=0, topic="orders", partition=1, offset=812, last_offset=812, sequence=7, attempt=1, thread=0x7F01)
OTHER = replace(ONE, cell=1, offset=900, last_offset=900, thread=0x7F02)
BATCH = replace(ONE, cell=2, offset=10, last_offset=19, thread=0x7F03)
RECORD = ("orders", 1, 812)

STACK = """Fatal Python error: Segmentation fault

Thread 0x0000000000007f02 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait

Current thread 0x0000000000007f01 (most recent call first):
  File "/srv/shop/orders.py", line 12 in process
"""
DUMP = STACK.replace("Fatal Python error: Segmentation fault\n\n", "")


def test_the_thread_that_a_fatal_signal_hit_is_read_from_what_faulthandler_wrote() -> None:
    assert crashed_thread(STACK) == 0x7F01
    assert crashed_thread(STACK.replace("(most", "[handler-0] (most")) == 0x7F01, "as newer Pythons write it"


def test_the_dump_of_a_live_process_names_no_thread_and_hides_none() -> None:
    assert crashed_thread(DUMP) is None
    assert crashed_thread(DUMP.replace("7f01", "7f99") + STACK) == 0x7F01
    assert crashed_thread("") is None


def test_the_crashed_thread_names_its_record_and_clears_the_others() -> None:
    assert accuse((ONE, OTHER), crashed=0x7F01) == Accusation(RECORD)


def test_a_thread_that_works_no_record_leaves_everybody_suspect() -> None:
    assert accuse((ONE, OTHER), crashed=0x7F77).suspects == (span(ONE), span(OTHER))


def test_tasks_that_share_the_crashed_thread_are_all_suspect() -> None:
    assert accuse((ONE, replace(OTHER, thread=ONE.thread)), crashed=ONE.thread).named is None


def test_a_death_that_nobody_can_explain_counts_against_nobody() -> None:
    accusation = accuse((ONE, OTHER))

    assert accusation == Accusation(suspects=(span(ONE), span(OTHER)))
    assert accuse(()) is not NOBODY
    assert not accuse(())


def test_a_record_that_happened_to_be_the_only_one_is_suspect_and_only_then_named() -> None:
    assert accuse((ONE,)) == Accusation(suspects=(span(ONE),))
    assert accuse((ONE,), accused={RECORD}) == Accusation(RECORD)


def test_a_suspect_beside_others_is_not_alone() -> None:
    assert accuse((ONE, OTHER), accused={RECORD}).named is None


def test_the_record_over_its_time_is_named_and_its_neighbours_are_not_even_suspect() -> None:
    assert accuse((ONE, OTHER), overdue=[span(ONE)]) == Accusation(RECORD, Cause.TIMEOUT)


def test_several_records_over_their_time_are_suspects_together_without_the_others() -> None:
    third = replace(OTHER, cell=4, offset=901, last_offset=901)

    assert accuse((ONE, OTHER, third), overdue=[span(ONE), span(OTHER)]).suspects == (span(ONE), span(OTHER))


def test_who_keeps_the_interpreter_for_himself_makes_nobody_else_guilty() -> None:
    assert accuse((ONE, OTHER), overdue=[span(OTHER)], responsive=False).suspects == (span(ONE), span(OTHER))


def test_an_async_handler_that_was_cancelled_for_its_time_and_did_not_end_is_named() -> None:
    late = [span(ONE), span(OTHER)]

    assert accuse((ONE, OTHER), overdue=late, responsive=False, proven=[span(ONE)]) == Accusation(RECORD, Cause.TIMEOUT)
    assert accuse((ONE, OTHER), overdue=[], responsive=False, proven=[span(ONE)]).named is None


def test_one_that_was_alone_and_kept_the_interpreter_is_guilty_of_the_timeout() -> None:
    assert accuse((ONE,), overdue=[span(ONE)], responsive=False, accused={RECORD}) == Accusation(RECORD, Cause.TIMEOUT)


def test_a_record_that_ended_before_its_worker_did_is_not_blamed_for_its_time() -> None:
    assert accuse((OTHER,), overdue=[span(ONE)]).named is None


def test_a_batch_is_suspect_as_a_whole_also_when_its_thread_is_known() -> None:
    assert accuse((BATCH, ONE), crashed=BATCH.thread).suspects == (("orders", 1, 10, 19),)
    assert accuse((BATCH,), accused={("orders", 1, 10)}).suspects == (("orders", 1, 10, 19),)


def test_a_topic_that_the_board_has_no_name_for_accuses_nobody() -> None:
    assert not accuse((replace(ONE, topic="?"),))
