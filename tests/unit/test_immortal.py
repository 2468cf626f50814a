"""Objects whose references nobody counts; in a process of their own, which they change for good."""

import subprocess
import sys

import pytest

from supervisor.zygote import immortal

_PROGRAM = """
import gc, sys, weakref
from supervisor.zygote.immortal import make_immortal

class Old: ...

def old(number): return [number, 'text']
here = {'list': [1000.5], 'old': Old()}
changed = make_immortal()
counts = [sys.getrefcount(one) for one in (old, old.__code__, here, here['list'], here['old'], Old)]
held = [old, old.__code__, here, here['list'], here['old'], Old] * 100
print(changed > 10000, counts == [sys.getrefcount(one) for one in held[:6]])

new = Old()
gone = weakref.ref(new)
here['list'].append(new)
here['list'].clear()
del new, held
gc.collect()
print(gone() is None, old(7), here['list'])
"""


def _told() -> list[str]:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stderr == ""
    return ended.stdout.splitlines()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="CPython counts all references before 3.12")
def test_references_to_what_is_immortal_are_not_counted() -> None:
    assert _told()[0] == "True True"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="CPython leaves some counts alone from 3.12 on")
def test_nothing_is_changed_where_all_references_are_counted() -> None:
    assert _told()[0] == "False False"


def test_what_comes_later_ends_as_ever_and_containers_go_on_changing() -> None:
    assert _told()[1] == "True [7, 'text'] []"


def test_an_interpreter_nobody_tried_it_on_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(immortal, "VERSIONS", frozenset({(3, 99)}))

    assert immortal.make_immortal() == 0
