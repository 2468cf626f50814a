"""Questions that brokers do not answer at once are asked again, but not without end."""

import time
from collections.abc import Callable
from typing import TypeVar

from supervisor.core.resets import is_hopeless
from supervisor.kafka.offsets import AskError

PATIENCE = 60.0
"""Seconds that a question may go unanswered: a broker's restart, its leaders' move."""
AGAIN_EVERY = 0.3
T = TypeVar("T")


def patiently(ask: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """Return the answer to a question that raises ``AskError`` while nobody answers; asked until it does.

    Blocks for ``patience`` seconds and one question at most; not again where that cannot help.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return ask()
        except AskError as error:
            if error.is_final or is_hopeless(str(error)) or time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_EVERY)
