"""Room that Python's allocator has between objects, taken so that new objects lie side by side."""

import sys
from itertools import pairwise

import pytest

from supervisor.zygote.gaps import fill_gaps

EMPTY = sys.getsizeof(b"")


def side_by_side(size: int, *, count: int = 20) -> int:
    """Return how many of ``count`` new objects of ``size`` bytes lie behind the one before."""
    new = [bytes(size - EMPTY) for _ in range(count)]
    return sum(id(after) - id(before) == size for before, after in pairwise(new))


@pytest.mark.parametrize("size", [64, 96, 256])
def test_new_objects_lie_side_by_side_once_gaps_are_filled(size: int) -> None:
    held = [bytes(size - EMPTY) for _ in range(1000)]
    del held[::2]
    assert side_by_side(size) < 5, "each in the place of one that ended"

    filling = fill_gaps()

    assert side_by_side(size) > 15
    assert sum(sys.getsizeof(one) for part in filling for one in part) < 8 << 20
