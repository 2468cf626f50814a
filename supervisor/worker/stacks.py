"""Where everything stands in this process, as text: files, lines and names, and no value of anybody's (P10)."""

import asyncio
import sys
import threading
import traceback
from types import FrameType

from supervisor.core.crashfile import MOST_STACK

MOST_FRAMES = 32


def stacks(task: "asyncio.Task[None]") -> str:
    """Return where a task waits, then what all threads do. In the thread of its loop, while it does not run."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = ["Handler:\n" + _text([*_awaits(task)])]
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
        found: list[FrameType] = []
        at: FrameType | None = frame
        while at is not None:
            found.insert(0, at)
            at = at.f_back
        parts.append(f"Thread {names.get(ident, ident)}:\n{_text(found)}")
    return "\n".join(parts)[:MOST_STACK]


def _awaits(task: "asyncio.Task[None]") -> list[FrameType]:
    """Return the frames of the coroutines that wait for each other, the innermost last; asyncio shows the first."""
    found: list[FrameType] = []
    waits: object = task.get_coro()
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame is None:
            break
        found.append(frame)
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return found


def _text(frames: list[FrameType]) -> str:
    newest = ((frame, frame.f_lineno) for frame in frames[-MOST_FRAMES:])
    return "".join(traceback.StackSummary.extract(newest).format())
