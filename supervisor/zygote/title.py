"""What ``ps`` and ``top`` call this process: a forked one would go by its zygote's command line."""

import ctypes
from functools import cache
from pathlib import Path

PR_SET_NAME = 15
_ARG_START, _ARG_END = 45, 46
"""Where arg_start and arg_end stand in /proc/self/stat behind the command's name (proc(5))."""


def set_title(title: str, short: str) -> None:
    """Write ``title`` over the arguments this process was started with, cut to their length; ``short`` is for top."""
    _libc().prctl(PR_SET_NAME, short.encode()[-15:], 0, 0, 0)
    start, room = _place()
    if start and room > 1:
        ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _place() -> tuple[int, int]:
    """Return where the arguments stand in memory, and their length: the same in the zygote and all it forks."""
    words = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(words[_ARG_START]), int(words[_ARG_END])
    return start, end - start
