"""What a zygote goes through before it forks leaves nothing that a worker would not have."""

import logging
import os
import signal
import sys
import threading

from supervisor.zygote.rehearsal import rehearse


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _state() -> list[object]:
    return [
        list(sys.path),
        list(logging.getLogger().handlers),
        [signal.getsignal(number) for number in signal.valid_signals()],
        threading.active_count(),
        [fd for fd in range(100) if _is_open(fd)],
    ]


def test_a_rehearsal_leaves_no_trace() -> None:
    rehearse()  # imports what is not there yet
    before = _state()

    rehearse()

    assert _state() == before
