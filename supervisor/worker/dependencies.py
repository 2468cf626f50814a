"""Which failures say that a dependency is down, and so nothing about their record."""

from collections.abc import Collection
from dataclasses import dataclass

from supervisor.core.events import one_line
from supervisor.core.hold import NAME_LENGTH
from supervisor.core.retry import class_names
from supervisor.plugin.errors import DependencyDownError
from supervisor.plugin.types import Failure, Retry

UNNAMED = "a dependency"
FIRST_LOOK = 0.05
LONGEST_LOOK = 1.0
"""Seconds between two looks whether a key that somebody else claimed is free."""


@dataclass(frozen=True, slots=True)
class BusyRetry(Retry):
    """Look again whether a key is free: the record was not begun, no attempt counts, and the breaker learns nothing."""


def down_name(error: BaseException, errors: Collection[str]) -> str | None:
    """Return the name of what is down; ``None`` when the failure does not say that anything is.

    It does when it is, or was raised ``from``, a ``DependencyDownError`` or one of the classes that ``errors`` name.
    """
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, DependencyDownError):
            return shown(cause.dependency)
        seen.add(id(cause))
        cause = cause.__cause__
    if not errors:
        return None
    wanted = {name if ":" in name else f"builtins:{name}" for name in errors}
    return next((shown(name) for name in class_names(error) if name in wanted), None)


def shown(name: object) -> str:
    """Return a dependency's name as operators are shown it: user code gave it."""
    return (one_line(name, NAME_LENGTH) if isinstance(name, str) else "") or UNNAMED


def busy_retry(failure: Failure, *, chance: float) -> BusyRetry:
    """Return the next look at a key that somebody else works: each wait as long as all before it, within bounds."""
    waited = failure.failed_at - failure.first_failed_at
    return BusyRetry(min(LONGEST_LOOK, max(FIRST_LOOK, waited)) * (1 - chance / 4))
