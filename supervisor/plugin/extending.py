"""More time for a handler that honestly takes long: what ``Record.extend`` asks, and who answers it."""

import math
from collections.abc import Callable
from contextvars import ContextVar

Extend = Callable[[float], float]
"""Takes the seconds that are wanted from now on; returns those that are given."""

EXTEND: ContextVar[Extend] = ContextVar("supervisor.extend")
"""Of the handler that runs in this context. Tasks and ``asyncio.to_thread`` calls of its own inherit it."""


def extend(seconds: float) -> float:
    """Ask for more time; outside of a worker (a test of the handler) all of it is given."""
    wanted = float(seconds)
    if not (math.isfinite(wanted) and wanted > 0):
        message = f"extend({seconds!r}): a number of seconds above zero is wanted"
        raise ValueError(message)
    try:
        answer = EXTEND.get()
    except LookupError:
        return wanted
    return answer(wanted)
