"""Wait in the parent's loop until slots are as they should be."""

import asyncio
from collections.abc import Callable


class StoppingError(Exception):
    """The supervisor was told to stop: whatever waits for slots ends."""


class Changes:
    """Tells who waits that some slot is not what it was."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self.stopping = False

    def tell(self) -> None:
        """Have every condition looked at again."""
        self._news.set()

    async def until(self, condition: Callable[[], bool], patience: float) -> bool:
        """Wait until ``condition`` is true; ``False`` after ``patience`` seconds; raises ``StoppingError``."""
        deadline = self._loop.time() + patience
        while not condition():
            if self.stopping:
                raise StoppingError
            left = deadline - self._loop.time()
            if left <= 0:
                return False
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return condition()
        return True
