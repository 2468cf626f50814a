"""What ``ps`` and ``top`` call this process: a forked one would go by its zygote's command line."""

import ctypes

PR_SET_NAME = 15
_ARG_START, _ARG_END = 45, 46
"""Where arg_start and arg_end stand in /proc/self/stat behind the command's name (proc(5))."""


def set_title(title: str, short: str) -> None:
    """Write ``title`` over the arguments this process was started with, cut to their length; ``short`` is for top."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NAME, short.encode()[-15:], 0, 0, 0)
    with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123 - on the way back to work
        words = stat.read().rpartition(b")")[2].split()
    start, end = int(words[_ARG_START]), int(words[_ARG_END])
    room = end - start
    if start and room > 1:
        ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)
