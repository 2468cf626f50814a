"""An exponential retry policy as a plugin: the rules of the ``[retry]`` table, to use as they are or to start from."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from supervisor.plugin import DeadLetter, Decision, DecodeError, Failure, Retry, Seconds, hookimpl


class RetryExponential:
    """Retry with growing, jittered delays; give up after ``attempts`` or at once on a permanent error."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``jitter`` is the share of a delay that chance may take away; ``permanent`` names ``module:Class``."""

        attempts: int = 5
        initial: Seconds = 0.2
        factor: float = 2.0
        max: Seconds = 30.0
        jitter: float = 1.0
        permanent: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            """Refuse what makes no policy."""
            for wrong, message in (
                (self.attempts < 1, "attempts must be at least 1"),
                (self.initial < 0, "initial must not be negative"),
                (self.factor < 1, "factor must be at least 1"),
                (self.max < self.initial, "max must not be less than initial"),
                (not 0 <= self.jitter <= 1, "jitter must be between 0 and 1"),
            ):
                if wrong:
                    raise ValueError(message)

    def __init__(self, options: Options, *, chance: Callable[[], float] = random.random) -> None:
        self._options = options
        self._chance = chance
        self._permanent = {name if ":" in name else f"builtins:{name}" for name in options.permanent}

    @hookimpl
    def retry_decision(self, failure: Failure) -> Decision | None:
        """Answer every failure but undecodable values: a plugin that is called after this one is never asked."""
        options = self._options
        if isinstance(failure.error, DecodeError):
            return None
        if not self._permanent.isdisjoint(_class_names(failure.error)):
            return DeadLetter("permanent error")
        if failure.attempt >= options.attempts:
            return DeadLetter(f"failed {failure.attempt} times")
        try:
            ceiling = min(options.max, options.initial * options.factor ** (failure.attempt - 1))
        except OverflowError:
            ceiling = options.max
        return Retry(after=ceiling * (1 - options.jitter * self._chance()))


def _class_names(error: BaseException) -> Iterator[str]:
    """Yield ``module:Class`` of the exception, its bases, and those of what it was raised ``from``."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        for kind in type(cause).__mro__:
            yield f"{kind.__module__}:{kind.__qualname__}"
        cause = cause.__cause__
