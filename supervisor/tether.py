"""What ties a child process to its parent's life, whatever the child is busy with."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> bool:
    """Have the kernel send SIGTERM when the parent dies (prctl(2), Linux); return whether it is still there now.

    The kernel watches the parent's *thread* that started us, which is its main thread. Between our start
    and this call the parent may have died unseen, hence the look at ``getppid``.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent_pid
