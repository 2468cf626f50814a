"""Ctrl-C that is not lost."""

import signal
from types import FrameType
from typing import Self


class Interrupts:
    """Raises ``KeyboardInterrupt`` as Python does, and remembers it.

    Raised inside a finalizer or a client's callback it is printed at most, and the program goes on. Main thread.
    """

    def __init__(self) -> None:
        self._came = False
        self._before: signal.Handlers | object = None

    def __enter__(self) -> Self:
        """Take SIGINT."""
        self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *raised: object) -> None:
        """Give it back."""
        signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def look(self) -> None:
        """Raise ``KeyboardInterrupt`` if one came at any time."""
        if self._came:
            raise KeyboardInterrupt

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
        raise KeyboardInterrupt
