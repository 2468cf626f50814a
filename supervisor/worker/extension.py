"""More time for what is in a handler, as far as the group allows: written on the board, where the parent sees it."""

import time

from supervisor.core.board import C_OFFSET, C_SEQUENCE, C_UNTIL, until_of, until_word
from supervisor.worker.engine import Engine


class Extension:
    """One cell's answer to ``Record.extend``: called by what runs in its handler, in whatever thread that is."""

    __slots__ = ("_base", "_limit", "_since", "_what", "_words")

    def __init__(self, engine: Engine, base: int) -> None:
        self._words = engine.board.words
        self._base = base
        self._limit = engine.spec.group.extend_limit
        self._what = (-1, -1)
        self._since = 0.0

    def __call__(self, seconds: float) -> float:
        """Move the deadline, never back; return for how many seconds from now on it stands."""
        words, base, now = self._words, self._base, time.monotonic()
        sequence = words[base + C_SEQUENCE]
        what = (sequence, words[base + C_OFFSET])
        if what != self._what:
            self._what, self._since = what, now
        until = max(min(now + seconds, self._since + self._limit), until_of(words[base + C_UNTIL], sequence))
        words[base + C_UNTIL] = until_word(until, sequence)
        return max(0.0, until - now)
