"""The ``[retry]`` table's rules: when a failed record is tried again, and what becomes of it when it is given up."""

from collections.abc import Collection
from dataclasses import dataclass

from supervisor.core.spec import RetryRule, RetrySpec, Then


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the table says of one failure: try again ``after`` seconds, or else (``None``) what ``then`` says."""

    after: float | None
    then: Then
    reason: str


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
    return not {_whole(name) for name in permanent}.isdisjoint(class_names(error))


def rule_of(error: BaseException, retry: RetrySpec) -> RetryRule | RetrySpec:
    """Return the first rule, in the order they are listed, that names the exception, a base or a cause of it.

    As with ``except`` clauses the order is the user's: neither how near a base is nor how deep a cause lies counts.
    """
    if retry.rules:
        names = set(class_names(error))
        for rule in retry.rules:
            if _whole(rule.error) in names:
                return rule
    return retry


def rule(retry: RetrySpec, error: BaseException, *, attempt: int, chance: float) -> Ruling:
    """Decide over a failed attempt; permanent errors come before all rules (``chance`` in [0, 1))."""
    if is_permanent(error, retry.permanent):
        return Ruling(None, Then.DEAD_LETTER, "permanent error")
    found = rule_of(error, retry)
    if attempt < found.attempts:
        return Ruling(found.backoff.delay(attempt - 1, chance=chance), found.then, "")
    return Ruling(None, found.then, f"failed {attempt} times")


def _whole(name: str) -> str:
    return name if ":" in name else f"builtins:{name}"
