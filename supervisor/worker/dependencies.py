"""Which failures say that a dependency is down, and so nothing about their record."""

from dataclasses import dataclass

from supervisor.plugin.errors import DependencyDownError
from supervisor.plugin.types import Failure, Retry

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0


@dataclass(frozen=True, slots=True)
class DownRetry(Retry):
    """Try again in place, as often as it takes: the attempt counts for nothing."""


def down_error(error: BaseException) -> DependencyDownError | None:
    """Return the ``DependencyDownError`` that ``error`` is or was raised ``from``."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, DependencyDownError):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__
    return None


def down_retry(failure: Failure, *, chance: float) -> DownRetry:
    """Return the next try: each wait about as long as all before it, within bounds."""
    waited = failure.failed_at - failure.first_failed_at
    return DownRetry(min(LONGEST_WAIT, max(FIRST_WAIT, waited)) * (1 - chance / 4))
