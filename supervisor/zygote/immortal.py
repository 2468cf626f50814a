"""Objects whose references nobody counts (PEP 683), so that workers do not copy them for a count of their own.

A count is a write, and the first write to a page that the zygote shares is a copy of it: of a forked worker's memory
most was such pages. From 3.12 on CPython leaves the count of some objects alone, ``None`` and small numbers among them;
what holds of those is made to hold of all that is here now. None of it is ever freed then, in no worker: only what
lives as long as the process may be made so, which is modules and what they hold.
"""

import ctypes
import gc
import sys
from types import CodeType

VERSIONS = frozenset({(3, 12), (3, 13)})
"""Where it was tried. Where the count stands, and what it says, is CPython's own business, and changes."""
_IMMORTAL = 1 << 31
"""Counts from here on (32 bits) are left alone; ``None`` has the one that its interpreter likes best."""


def is_possible() -> bool:
    """Tell whether this interpreter is one of those; free-threaded and debug builds count otherwise."""
    return (
        sys.implementation.name == "cpython"
        and sys.version_info[:2] in VERSIONS
        and sys.maxsize > 1 << 32
        and sys.abiflags == ""
        and _count(None).value >= _IMMORTAL
    )


def make_immortal() -> int:
    """Have no reference to any object of this process counted from now on, nor any of them freed; return how many.

    Does nothing where it is not possible. One thread only, which holds no object that must end before the process.
    """
    if not is_possible():
        return 0
    like, changed = _count(None).value, 0
    for one in _all_objects():
        count = _count(one)
        if count.value < _IMMORTAL:
            count.value = like
            changed += 1
    return changed


def _all_objects() -> list[object]:
    """Return what the collector knows, and all that can be reached from there."""
    waiting = gc.get_objects()
    ours = {id(waiting), id(seen := set[int]()), id(found := list[object]())}
    seen |= ours
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        found.append(one)
        waiting += gc.get_referents(one)
        if isinstance(one, CodeType):  # which the collector takes for a leaf
            waiting += (one.co_consts, one.co_names, one.co_filename, one.co_name, one.co_qualname)
            waiting += (one.co_linetable, one.co_exceptiontable)
    return found


def _count(one: object) -> ctypes.c_uint32:
    """Return the lower half of an object's reference count, the one that tells."""
    return ctypes.c_uint32.from_address(id(one))
