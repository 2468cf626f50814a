from supervisor.core.letters import MAX_STACK, Origin, dead_letter_headers, where


class SecretiveError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _error(depth: int = 0) -> BaseException:
    try:
        fail(depth)
    except ValueError as error:
        return error
    raise AssertionError


def fail(depth: int) -> None:
    if depth:
        fail(depth - 1)
    raise ValueError("x" * 5000)


def _origin(error: BaseException | None) -> Origin:
    return Origin(
        group="g", worker="w", topic="t", partition=3, offset=42, timestamp=1.5, disposition="error",
        reason="failed 3 times", attempts=3, first_failed_at=2.0, failed_at=3.25, error=error,
    )  # fmt: skip


def test_headers_are_text_and_say_where_the_letter_came_from() -> None:
    headers = dict(dead_letter_headers((("trace", b"1"),), _origin(None)))

    assert headers["trace"] == b"1"
    assert headers["supervisor.dlq.audit-id"] == b"g/t/3/42"
    assert headers["supervisor.dlq.timestamp"] == b"1.500"
    assert headers["supervisor.dlq.attempts"] == b"3"
    assert "supervisor.dlq.exception-type" not in headers


def test_headers_of_an_earlier_life_are_replaced_and_foreign_ones_kept() -> None:
    own = (("supervisor.dlq.offset", b"7"), ("a", b"1"), ("a", None))

    headers = dead_letter_headers(own, _origin(None))

    assert [value for name, value in headers if name == "supervisor.dlq.offset"] == [b"42"]
    assert [value for name, value in headers if name == "a"] == [b"1", None]


def test_message_and_stack_are_bounded_and_the_stack_keeps_its_end() -> None:
    headers = dict(dead_letter_headers((), _origin(_error(depth=60))))

    stack = headers["supervisor.dlq.exception-stack"] or b""
    assert len(stack) <= MAX_STACK
    assert len(headers["supervisor.dlq.exception-message"] or b"") == 1024


def test_an_exception_whose_text_raises_still_makes_a_letter() -> None:
    headers = dict(dead_letter_headers((), _origin(SecretiveError())))

    assert headers["supervisor.dlq.exception-type"] == f"{SecretiveError.__module__}.SecretiveError".encode()
    assert headers["supervisor.dlq.exception-message"] == b"(its text could not be had)"


def test_where_names_the_innermost_line_and_nothing_else() -> None:
    assert where(_error()).startswith("test_letters.py:")
    assert where(ValueError("never raised")) == "?"
