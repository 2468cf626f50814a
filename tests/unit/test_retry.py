import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.retry import class_names, is_permanent, rule
from supervisor.core.spec import RetryRule, RetrySpec, Then

RETRY = RetrySpec(attempts=4, backoff=Backoff(initial=0.2, factor=2, max=0.5, jitter=1.0))
QUICK = Backoff(initial=0.01, factor=1, max=0.01, jitter=0.0)


class InvalidError(ValueError):
    pass


def raised_from(cause: BaseException) -> RuntimeError:
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = cause
    return wrapped


def with_rules(*rules: RetryRule) -> RetrySpec:
    return RetrySpec(RETRY.attempts, RETRY.backoff, permanent=("builtins:KeyError",), rules=rules)


def then(error: BaseException, *rules: RetryRule) -> Then:
    return rule(with_rules(*rules), error, attempt=99, chance=0.0).then


def test_attempts_are_counted_from_one_and_the_last_gives_up() -> None:
    waits = [rule(RETRY, OSError(), attempt=attempt, chance=0.0).after for attempt in (1, 2, 3, 4, 5)]

    assert waits == [0.2, 0.4, 0.5, None, None]


def test_full_jitter_may_take_a_whole_delay_away() -> None:
    assert rule(RETRY, OSError(), attempt=1, chance=0.5).after == 0.1


def test_a_permanent_error_is_given_up_at_once_whatever_the_rules_say() -> None:
    busy = RetryRule("builtins:LookupError", 9, QUICK, Then.DROP)

    ruling = rule(with_rules(busy), KeyError(), attempt=1, chance=0.0)

    assert (ruling.after, ruling.then, ruling.reason) == (None, Then.DEAD_LETTER, "permanent error")


def test_permanent_names_a_class_its_base_or_a_cause() -> None:
    assert is_permanent(InvalidError(), [f"{__name__}:InvalidError"])
    assert is_permanent(InvalidError(), ["ValueError"])
    assert is_permanent(raised_from(InvalidError("inner")), ["builtins:ValueError"])
    assert not is_permanent(KeyError(), ["ValueError"])
    assert not is_permanent(InvalidError(), [])


def test_causes_in_a_circle_end() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first

    assert not is_permanent(first, ["ValueError"])
    assert class_names(first)[0] == "builtins:RuntimeError"


@pytest.mark.parametrize("error", [InvalidError(), raised_from(InvalidError()), ValueError()])
def test_a_rule_is_for_a_class_for_what_derives_from_it_and_for_what_was_raised_from_it(error: Exception) -> None:
    spec = with_rules(RetryRule("builtins:ValueError", 2, QUICK, Then.PAUSE))

    rulings = [rule(spec, error, attempt=attempt, chance=0.0) for attempt in (1, 2)]

    assert [(one.after, one.then) for one in rulings] == [(0.01, Then.PAUSE), (None, Then.PAUSE)]


def test_a_failure_no_rule_is_for_is_treated_as_the_table_says() -> None:
    spec = with_rules(RetryRule("builtins:ValueError", 2, QUICK, Then.DROP))

    assert rule(spec, OSError(), attempt=3, chance=0.0) == rule(RETRY, OSError(), attempt=3, chance=0.0)


def test_of_rules_for_one_failure_the_first_listed_holds_as_with_except_clauses() -> None:
    narrow = RetryRule(f"{__name__}:InvalidError", 1, QUICK, Then.CRASH)
    wide = RetryRule("ValueError", 1, QUICK, Then.DROP)

    assert then(InvalidError(), narrow, wide) is Then.CRASH
    assert then(InvalidError(), wide, narrow) is Then.DROP
    assert then(raised_from(InvalidError()), RetryRule("RuntimeError", 1, QUICK, Then.PAUSE), narrow) is Then.PAUSE
