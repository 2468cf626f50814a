"""The ``[retry]`` table's rule: when a failed record is tried again, and when it is given up."""

from collections.abc import Collection

from supervisor.core.spec import RetrySpec


def class_names(error: BaseException) -> list[str]:
    """Return ``module:Class`` of an exception, its bases, and those of what it was raised ``from``."""
    names: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        names += [f"{kind.__module__}:{kind.__qualname__}" for kind in type(cause).__mro__ if kind is not object]
        cause = cause.__cause__
    return names


def is_permanent(error: BaseException, permanent: Collection[str]) -> bool:
    """Tell whether ``permanent`` names the exception, a base of it, or its cause; builtins need no module."""
    if not permanent:
        return False
    wanted = {name if ":" in name else f"builtins:{name}" for name in permanent}
    return not wanted.isdisjoint(class_names(error))


def retry_after(retry: RetrySpec, *, attempt: int, permanent: bool, chance: float) -> float | None:
    """Return the seconds until attempt ``attempt + 1``, or ``None`` when the record is given up."""
    if permanent or attempt >= retry.attempts:
        return None
    return retry.backoff.delay(attempt - 1, chance=chance)
