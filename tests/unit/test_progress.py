from dataclasses import replace

from supervisor.core.board import Board, InFlight, Wait
from supervisor.core.progress import Limits, Progress, Verdict, coordinates, look

LIMITS = Limits(handler_timeout=30.0, tick_timeout=30.0, idle_timeout=30.0)
RECORD = InFlight(cell=0, topic="orders", partition=1, offset=812, last_offset=812, sequence=7, attempt=1, thread=99)
BOARD = Board(pid=1, incarnation=1, tick_ns=0, wait=Wait.NONE, started_ns=0, settled=0, in_flight=())


def watch(*boards: Board, every: float = 1.0) -> Verdict:
    """Look at one board after the other; return the last verdict."""
    seen: Progress | None = None
    verdict = Verdict("never looked", healthy=False)
    for place, board in enumerate(boards):
        seen, verdict = look(seen, board, LIMITS, now=100 + place * every)
    return verdict


def ticking(board: Board, seconds: int) -> list[Board]:
    return [replace(board, tick_ns=second) for second in range(seconds + 1)]


def test_a_record_within_its_time_is_no_hang() -> None:
    verdict = watch(*ticking(replace(BOARD, in_flight=(RECORD,)), 30))

    assert verdict == Verdict("", healthy=True, oldest=30.0)


def test_a_record_beyond_its_time_is_a_hang_and_is_named() -> None:
    verdict = watch(*ticking(replace(BOARD, in_flight=(RECORD,)), 31))

    assert verdict.hung == "orders/1@812 is in its handler for 31s, allowed are 30s"
    assert not verdict.healthy


def test_a_worker_that_cancels_its_handlers_itself_gets_time_to_end_them() -> None:
    cancelling = replace(BOARD, in_flight=(RECORD,), cancels=True)

    assert watch(*ticking(cancelling, 35)).hung == ""
    assert watch(*ticking(cancelling, 36)).hung.startswith("orders/1@812 is in its handler for 36s")


def test_another_record_or_attempt_in_the_same_thread_begins_anew() -> None:
    for other in (replace(RECORD, offset=813), replace(RECORD, sequence=8), replace(RECORD, attempt=2)):
        boards = ticking(replace(BOARD, in_flight=(RECORD,)), 25) + ticking(replace(BOARD, in_flight=(other,)), 25)

        assert watch(*boards).oldest == 25.0


def test_a_tick_that_stands_still_is_a_hang() -> None:
    assert watch(*[BOARD] * 31).hung == ""
    assert watch(*[BOARD] * 32).hung == "the poll loop stands still for 31s"


def test_a_poll_loop_that_gives_partitions_up_may_stand_still_longer_but_not_for_ever() -> None:
    revoking = replace(BOARD, wait=Wait.REVOKING)

    assert watch(*[revoking] * 91).hung == ""
    assert watch(*[revoking] * 92).hung == "the poll loop stands still for 1m31s"


def test_a_watcher_that_stood_still_blames_nobody() -> None:
    board = replace(BOARD, in_flight=(RECORD,))

    assert watch(board, board, every=3600.0).hung == ""


def test_a_worker_that_has_work_and_settles_nothing_is_not_healthy_but_no_hang() -> None:
    verdict = watch(*ticking(BOARD, 31))

    assert verdict == Verdict("", healthy=False)


def test_a_stated_reason_or_progress_is_healthy() -> None:
    assert watch(*ticking(replace(BOARD, wait=Wait.BROKER), 500)).healthy
    assert watch(*(replace(BOARD, tick_ns=second, settled=second // 20) for second in range(500))).healthy


def test_a_batch_is_named_by_its_first_and_last_offset() -> None:
    assert coordinates(replace(RECORD, last_offset=900)) == "orders/1@812-900"


RUNNABLE = replace(BOARD, runnable=3, begun=7)


def test_records_that_could_be_worked_and_none_of_them_begun_are_a_hang() -> None:
    assert watch(*ticking(RUNNABLE, 30)).hung == ""
    assert watch(*ticking(RUNNABLE, 31)).hung == "records wait to be worked and none is begun for 31s"


def test_what_is_begun_settled_or_in_its_handler_begins_that_time_anew() -> None:
    for other in (replace(RUNNABLE, begun=8), replace(RUNNABLE, settled=1), replace(RUNNABLE, in_flight=(RECORD,))):
        boards = ticking(RUNNABLE, 25) + ticking(other, 25)

        assert watch(*boards).hung == ""


def test_records_that_come_after_an_hour_of_nothing_have_their_own_time() -> None:
    boards = ticking(replace(BOARD, wait=Wait.EOF), 3600) + ticking(RUNNABLE, 30)

    assert watch(*boards).hung == ""


def test_no_stated_reason_is_a_hang_however_long_it_lasts() -> None:
    """Not even with records in hand: it says itself why none is worked."""
    stated = set(Wait) - {Wait.NONE, Wait.BUSY}
    for wait in stated:
        verdict = watch(*ticking(replace(RUNNABLE, wait=wait), 1000))

        assert verdict == Verdict("", healthy=True), wait


def test_a_watcher_that_stood_still_does_not_take_runnable_records_for_a_stall() -> None:
    assert watch(RUNNABLE, replace(RUNNABLE, tick_ns=1), every=3600.0).hung == ""


def test_what_is_over_its_time_is_named_and_the_process_around_it_is_alive() -> None:
    young = replace(RECORD, cell=1, offset=900, last_offset=900, sequence=8)
    alone, both = replace(BOARD, in_flight=(RECORD,)), replace(BOARD, in_flight=(RECORD, young))
    verdict = watch(*ticking(alone, 2), *(replace(both, tick_ns=100 + second) for second in range(29)))

    assert verdict.overdue == (("orders", 1, 812, 812),)
    assert verdict.responsive


def test_a_process_that_stands_still_as_a_whole_is_not_responsive() -> None:
    still = watch(*[replace(BOARD, in_flight=(RECORD,))] * 32)

    assert still.overdue
    assert not still.responsive


def test_handlers_that_share_a_loop_may_all_be_late_for_one_of_them() -> None:
    blocked = watch(*ticking(replace(BOARD, in_flight=(RECORD,), cancels=True), 36))

    assert blocked.overdue
    assert not blocked.responsive


def test_a_record_that_asked_for_more_time_is_a_hang_only_after_that() -> None:
    board = replace(BOARD, in_flight=(replace(RECORD, until=190.0),))

    assert not watch(*ticking(board, 90)).hung
    assert watch(*ticking(board, 91)).hung
