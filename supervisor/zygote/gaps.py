"""Gaps between the objects of this process, filled before a fork.

Python's allocator puts new small objects where others ended. In a forked worker each such place is on a page that all
share, so each is a page copied for a few bytes. With the gaps filled they lie side by side on new pages.
"""

import sys

_STEP, _LARGEST = 16, 512
"""Bytes: pymalloc has pools of blocks of one size each, and leaves what is larger to libc."""
_POOL = 1 << 14
_MOST = 1 << 18
"""Bytes of one size that are worth it; reached only where the allocator is another one."""
_EMPTY = sys.getsizeof(b"")


def fill_gaps() -> list[list[bytes]]:
    """Return what fills them: they are gaps again when it goes. Collect garbage first."""
    return [_filling(size) for size in range(-(-_EMPTY // _STEP) * _STEP, _LARGEST + 1, _STEP)]


def _filling(size: int) -> list[bytes]:
    """Return objects of ``size`` bytes, as many as it takes until a whole pool of them would lie side by side."""
    filling: list[bytes] = []
    last = row = 0
    while row < _POOL // size - 2 and len(filling) < _MOST // size:
        filling.append(bytes(size - _EMPTY))
        row = row + 1 if id(filling[-1]) == last + size else 0
        last = id(filling[-1])
    del filling[len(filling) - row :]
    return filling
