import signal

import pytest

from supervisor.core.exits import ExitClass, ExitCode, classify, describe


@pytest.mark.parametrize(
    ("status", "was_ready", "expected"),
    [
        (0, True, ExitClass.CLEAN),
        (0, False, ExitClass.STARTUP),
        (1, True, ExitClass.CRASH),
        (1, False, ExitClass.STARTUP),
        (ExitCode.ENGINE, True, ExitClass.CRASH),
        (ExitCode.CONFIG, True, ExitClass.CONFIG),
        (ExitCode.CONFIG, False, ExitClass.CONFIG),
        (ExitCode.FENCED, True, ExitClass.FENCED),
        (ExitCode.FENCED, False, ExitClass.FENCED),
        (ExitCode.RECYCLE, True, ExitClass.RECYCLE),
        (-signal.SIGSEGV, True, ExitClass.SIGNAL),
        (-signal.SIGKILL, False, ExitClass.STARTUP),
    ],
)
def test_a_death_nobody_asked_for_is_named_by_its_status(status: int, was_ready: bool, expected: ExitClass) -> None:
    assert classify(status, was_ready=was_ready, stop_requested=False) is expected


@pytest.mark.parametrize("status", [0, 1, ExitCode.ENGINE, -signal.SIGTERM, -signal.SIGKILL, ExitCode.RECYCLE])
def test_a_stop_that_was_asked_for_outranks_the_code_it_ended_with(status: int) -> None:
    assert classify(status, was_ready=True, stop_requested=True) is ExitClass.REQUESTED


@pytest.mark.parametrize(
    ("code", "expected"), [(ExitCode.CONFIG, ExitClass.CONFIG), (ExitCode.FENCED, ExitClass.FENCED)]
)
def test_what_a_worker_says_of_itself_outranks_a_stop(code: int, expected: ExitClass) -> None:
    assert classify(code, was_ready=True, stop_requested=True) is expected


@pytest.mark.parametrize("stop_requested", [True, False])
def test_a_hang_outranks_the_signal_that_ended_it(stop_requested: bool) -> None:
    found = classify(-signal.SIGKILL, was_ready=True, stop_requested=stop_requested, hung=True)

    assert found is ExitClass.HUNG


@pytest.mark.parametrize("stop_requested", [True, False])
@pytest.mark.parametrize("hung", [True, False])
def test_a_lack_of_memory_outranks_whatever_else_was_going_on(stop_requested: bool, hung: bool) -> None:
    found = classify(-signal.SIGKILL, was_ready=True, stop_requested=stop_requested, hung=hung, oom=True)

    assert found is ExitClass.OOM


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-11, "SIGSEGV"),
        (-9, "SIGKILL"),
        (-99, "signal 99"),
        (0, "exit code 0 (ok)"),
        (70, "exit code 70 (engine)"),
        (71, "exit code 71 (kafka fatal)"),
        (42, "exit code 42"),
    ],
)
def test_a_status_is_told_in_words(status: int, words: str) -> None:
    assert describe(status) == words


def test_no_exit_code_is_used_twice_or_belongs_to_the_shell() -> None:
    codes = [code.value for code in ExitCode.__members__.values()]

    assert len(codes) == len(set(codes))
    assert all(code < 126 for code in codes)
