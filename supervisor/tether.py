"""What ties a child process to its parent's life, whatever the child is busy with."""

import ctypes
import logging
import os
import signal
import sys
import time
from functools import cache

PR_SET_PDEATHSIG = 1
BOUND = getattr(signal, "SIGSTKFLT", None)
"""A signal nothing uses (signal(7)), whose number, 16, is also the seconds of ``bounded``."""


def die_with_parent(parent_pid: int, *, bounded: bool = False) -> bool:
    """Have the kernel send SIGTERM when the parent dies (prctl(2), Linux); return whether it is still there now.

    The kernel watches the parent's *thread* that started us, which is its main thread. Between our start
    and this call the parent may have died unseen, hence the look at ``getppid``.

    ``bounded``: the signal is ``BOUND`` instead, and ends us after 16 seconds at the latest unless ``unbound`` is
    called. For who must notice by other means, and may be busy in C with the interpreter lock held: a handler in
    Python would never run. Its handler is libc's own ``alarm``, called with the signal's number.
    """
    if sys.platform == "linux":
        libc, number = _libc(), int(signal.SIGTERM)
        if bounded and BOUND is not None:
            number = int(BOUND)
            libc.signal(number, ctypes.cast(libc.alarm, ctypes.c_void_p))
        libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent_pid


@cache
def _libc() -> ctypes.CDLL:
    """Return libc; one that a zygote has looked at is there for all that it forks."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    return libc


def unbound(seconds: int) -> None:
    """Take ``seconds`` from now on as the bound instead: who calls this has noticed. Main thread."""
    if BOUND is not None:
        signal.signal(BOUND, signal.SIG_IGN)  # it may come after this: the parent's files close before it is dead
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


def take_along(parent_pid: int, *, patience: float) -> None:
    """End at once with all of our process group if the parent is dead, who would have ended the group after us.

    The last thing a leader of its group does; does not return then. Waits ``patience`` seconds for the death: who has
    seen the parent's files close is a little ahead of it.
    """
    deadline = time.monotonic() + patience
    while os.getppid() == parent_pid and time.monotonic() < deadline:
        time.sleep(0.01)
    if os.getppid() != parent_pid and os.getpgrp() == os.getpid():
        logging.shutdown()
        os.killpg(os.getpid(), signal.SIGKILL)
