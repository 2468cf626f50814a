import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.retry import is_permanent, rule
from supervisor.core.spec import RetrySpec
from supervisor.plugin import DeadLetter, Retry
from supervisor_plugins.retry_exponential import RetryExponential
from tests.plugins.conftest import a_failure


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.99])
@pytest.mark.parametrize("attempt", [1, 2, 3, 4, 5, 6, 5000])
def test_it_decides_as_the_retry_table_does(attempt: int, chance: float) -> None:
    options = RetryExponential.Options(attempts=5, initial=0.2, factor=3.0, max=4.0, jitter=0.5)
    table = RetrySpec(5, Backoff(0.2, 3.0, max=4.0, jitter=0.5))

    decision = RetryExponential(options, chance=lambda: chance).retry_decision(a_failure(ValueError(), attempt))

    expected = rule(table, ValueError(), attempt=attempt, chance=chance).after
    assert decision == (DeadLetter(f"failed {attempt} times") if expected is None else Retry(expected))


@pytest.mark.parametrize("permanent", [("ValueError",), ("builtins:Exception",), ("json.decoder:JSONDecodeError",), ()])
@pytest.mark.parametrize("wrapped", [True, False])
def test_it_knows_permanent_errors_as_the_retry_table_does(permanent: tuple[str, ...], *, wrapped: bool) -> None:
    error: Exception = ValueError("bad")
    if wrapped:
        outer = RuntimeError("no luck")
        outer.__cause__ = error
        error = outer

    decision = RetryExponential(RetryExponential.Options(permanent=permanent)).retry_decision(a_failure(error))

    assert isinstance(decision, DeadLetter) is is_permanent(error, permanent)


def test_a_huge_attempt_does_not_overflow() -> None:
    policy = RetryExponential(RetryExponential.Options(attempts=10**6, jitter=0.0, max=7.0))

    assert policy.retry_decision(a_failure(ValueError(), 100_000)) == Retry(7.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"initial": -1.0}, "initial must not be negative"),
        ({"factor": 0.5}, "factor must be at least 1"),
        ({"initial": 2.0, "max": 1.0}, "max must not be less than initial"),
        ({"jitter": 1.5}, "jitter must be between 0 and 1"),
    ],
)
def test_options_that_make_no_policy_are_refused(options: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        RetryExponential.Options(**options)  # type: ignore[arg-type]
