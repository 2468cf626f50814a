"""Room that Python's allocator has between objects, taken so that new objects lie side by side.

In a process of their own: the tests' one has more gaps than ``fill_gaps`` finds worth it.
"""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from itertools import pairwise
from supervisor.zygote.gaps import fill_gaps

size = int(sys.argv[1])
empty = sys.getsizeof(b"")

def side_by_side():
    new = [bytes(size - empty) for _ in range(20)]
    return sum(id(after) - id(before) == size for before, after in pairwise(new))

held = [bytes(size - empty) for _ in range(1000)]
del held[::2]
before = side_by_side()
filling = fill_gaps()
print(before, side_by_side(), sum(sys.getsizeof(one) for part in filling for one in part))
"""


@pytest.mark.parametrize("size", [64, 96, 256])
def test_new_objects_lie_side_by_side_once_gaps_are_filled(size: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(size)], capture_output=True, text=True, check=True, timeout=60
    )
    before, after, taken = map(int, ended.stdout.split())

    assert before < 5, "each in the place of one that ended"
    assert after > 15
    assert taken < 8 << 20
