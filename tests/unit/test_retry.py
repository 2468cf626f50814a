from supervisor.core.backoff import Backoff
from supervisor.core.retry import is_permanent, retry_after
from supervisor.core.spec import RetrySpec

RETRY = RetrySpec(attempts=4, backoff=Backoff(initial=0.2, factor=2, max=0.5, jitter=1.0))


class InvalidError(ValueError):
    pass


def test_attempts_are_counted_from_one_and_the_last_gives_up() -> None:
    waits = [retry_after(RETRY, attempt=attempt, permanent=False, chance=0.0) for attempt in (1, 2, 3, 4, 5)]

    assert waits == [0.2, 0.4, 0.5, None, None]


def test_full_jitter_may_take_a_whole_delay_away() -> None:
    assert retry_after(RETRY, attempt=1, permanent=False, chance=0.5) == 0.1


def test_a_permanent_error_is_given_up_at_once() -> None:
    assert retry_after(RETRY, attempt=1, permanent=True, chance=0.0) is None


def test_permanent_names_a_class_its_base_or_a_cause() -> None:
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = InvalidError("inner")

    assert is_permanent(InvalidError(), [f"{__name__}:InvalidError"])
    assert is_permanent(InvalidError(), ["ValueError"])
    assert is_permanent(wrapped, ["builtins:ValueError"])
    assert not is_permanent(KeyError(), ["ValueError"])
    assert not is_permanent(InvalidError(), [])


def test_causes_in_a_circle_end() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first

    assert not is_permanent(first, ["ValueError"])
