"""Keep starts from becoming a storm: only so many processes are on their way at one moment."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable


class StartGate:
    """Hands out places for starting processes, first come, first served.

    A place is given back when the process is ready or gone, and taken back after ``share`` seconds: whoever
    starts for longer waits for something else than a processor.
    """

    def __init__(self, places: int, *, share: float = 10.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._places = places
        self._share = share
        self._waiting: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()
        self._inside: dict[Hashable, asyncio.TimerHandle] = {}

    def enter(self, who: Hashable, go: Callable[[], None]) -> None:
        """Call ``go`` when a place is free, at once if there is one."""
        self._waiting[who] = go
        self._admit()

    def leave(self, who: Hashable) -> None:
        """Give the place back, or stop waiting for one; idempotent."""
        self._waiting.pop(who, None)
        timer = self._inside.pop(who, None)
        if timer is not None:
            timer.cancel()
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._inside) < self._places:
            who, go = self._waiting.popitem(last=False)
            self._inside[who] = self._loop.call_later(self._share, self.leave, who)
            go()
