"""Waiting in tests: for a condition and with a deadline, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    timeout: float = 10.0,
    *,
    otherwise: str | None = "condition not met",
    every: float = 0.02,
) -> T:
    """Return the first true value of ``condition``; after ``timeout`` seconds fail with ``otherwise``.

    With ``otherwise=None`` the last, false value is returned instead.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            if otherwise is None:
                return value
            message = f"{otherwise} within {timeout:g} s (last value: {value!r})"
            raise AssertionError(message)
        time.sleep(every)
    return value


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie, whoever may be slow to reap it, does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
