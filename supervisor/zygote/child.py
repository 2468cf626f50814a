"""What a forked process puts behind it before it is a worker like any exec'd one."""

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from supervisor.core.exits import ExitCode
from supervisor.zygote.title import set_title

REPARENTED = 5.0
STDERR = 2
_AT_START: Mapping[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
"""What an interpreter sets at its start."""


def become_worker(connection: int, *, parent: int, between: int, title: str) -> None:
    """Be a child of ``parent`` with three standard streams and ``connection``, in a session of our own.

    Does not return when the parent is gone, or ``between`` (the process between the zygote and us) does not end.
    """
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - on the way back to work
        if int(entry) > STDERR and int(entry) != connection:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(entry))
    os.setsid()
    _reset_random()
    gc.enable()
    sys.argv[:] = ["supervisor.worker"]
    set_title(f"supervisor: worker {title}", title)
    deadline = time.monotonic() + REPARENTED
    while (above := os.getppid()) != parent:
        if above != between or time.monotonic() > deadline:
            os._exit(ExitCode.FAILURE)
        time.sleep(0.0002)


def reset_signals() -> None:
    """Undo what preloaded modules did to signals: the mask, handlers, the wake-up descriptor; before any fork."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        at_start = _AT_START.get(number, signal.SIG_DFL)
        if signal.getsignal(number) != at_start:
            signal.signal(number, at_start)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _reset_random() -> None:
    """Give every worker chance of its own, where numpy was preloaded; Python's own ``random`` looks after itself."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
