import struct
from dataclasses import replace

import pytest

from supervisor.core.letters import MAX_LOG, MAX_STACK, Headers, Origin, Profile, dead_letter_headers, shorter, where


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


KILLED = replace(
    _origin(None), disposition="worker-killed", reason="killed its worker 3 times", signal="SIGSEGV", exit_code=-11,
    stack="File work.py, line 3", log_lines=("before", "at the end"), slot=2, handler="work:process", code_version="v7",
)  # fmt: skip


def caused() -> BaseException:
    try:
        try:
            fail(0)
        except ValueError as error:
            raise KeyError("order") from error
    except KeyError as error:
        return error
    raise AssertionError


def test_a_death_is_told_with_its_signal_stack_and_last_lines() -> None:
    headers = dict(dead_letter_headers((), KILLED))

    told = {name: headers[f"supervisor.dlq.{name}"] for name in ("signal", "exit-code", "stack", "log-lines")}
    assert told == {
        "signal": b"SIGSEGV", "exit-code": b"-11", "stack": b"File work.py, line 3", "log-lines": b"before\nat the end",
    }  # fmt: skip
    assert headers["supervisor.dlq.code-version"] == b"v7"
    assert headers["supervisor.dlq.handler"] == b"work:process"


def test_of_many_log_lines_the_newest_are_kept() -> None:
    lines = tuple(f"line {number} {'x' * 100}" for number in range(1000))

    kept = dict(dead_letter_headers((), replace(KILLED, log_lines=lines)))["supervisor.dlq.log-lines"] or b""

    assert len(kept) == MAX_LOG
    assert kept.endswith(lines[-1].encode())


def test_the_number_of_replays_is_carried_through_another_failure() -> None:
    own = (("supervisor.dlq.replay-count", b"2"), ("supervisor.dlq.attempts", b"9"))

    headers = dead_letter_headers(own, _origin(None))

    assert headers[0] == ("supervisor.dlq.replay-count", b"2")
    assert dict(headers)["supervisor.dlq.attempts"] == b"3"


def test_spring_finds_its_headers_in_its_own_encodings() -> None:
    headers = dict(dead_letter_headers((("a", b"1"),), replace(_origin(caused()), error=caused()), Profile.SPRING))

    stack = headers.pop("kafka_dlt-exception-stacktrace") or b""
    assert headers == {
        "a": b"1",
        "kafka_dlt-original-topic": b"t",
        "kafka_dlt-original-partition": struct.pack(">i", 3),
        "kafka_dlt-original-offset": struct.pack(">q", 42),
        "kafka_dlt-original-timestamp": struct.pack(">q", 1500),
        "kafka_dlt-original-timestamp-type": b"CreateTime",
        "kafka_dlt-original-consumer-group": b"g",
        "kafka_dlt-exception-fqcn": b"builtins.KeyError",
        "kafka_dlt-exception-cause-fqcn": b"builtins.ValueError",
        "kafka_dlt-exception-message": b"'order'",
        "supervisor.dlq.audit-id": b"g/t/3/42",
    }
    assert stack.endswith(b"KeyError: 'order'\n")


def test_a_record_without_a_timestamp_has_javas_word_for_it() -> None:
    headers = dict(dead_letter_headers((), replace(_origin(None), timestamp=None), Profile.SPRING))

    assert headers["kafka_dlt-original-timestamp"] == struct.pack(">q", -1)
    assert headers["kafka_dlt-original-timestamp-type"] == b"NoTimestampType"


def test_spring_keeps_every_origin_and_the_last_exception() -> None:
    once = dead_letter_headers((), _origin(_error()), Profile.SPRING)

    twice = dead_letter_headers(once, replace(_origin(caused()), topic="t.dlq", error=caused()), Profile.SPRING)

    assert [value for name, value in twice if name == "kafka_dlt-original-topic"] == [b"t", b"t.dlq"]
    assert [value for name, value in twice if name == "kafka_dlt-exception-fqcn"] == [b"builtins.KeyError"]


def test_connect_finds_its_headers_as_text() -> None:
    origin = replace(KILLED, error=_error(), disposition="error")
    headers = dict(dead_letter_headers((("__connect.errors.topic", b"old"),), origin, Profile.CONNECT))

    stack = headers.pop("__connect.errors.exception.stacktrace") or b""
    message = headers.pop("__connect.errors.exception.message") or b""
    assert headers == {
        "__connect.errors.topic": b"t",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"42",
        "__connect.errors.connector.name": b"g",
        "__connect.errors.task.id": b"2",
        "__connect.errors.stage": b"TASK_PUT",
        "__connect.errors.class.name": b"work:process",
        "__connect.errors.exception.class.name": b"builtins.ValueError",
        "supervisor.dlq.audit-id": b"g/t/3/42",
    }
    assert message == b"x" * 1024
    assert stack.startswith(b"Traceback")


def test_what_cannot_be_decoded_failed_in_connects_converter() -> None:
    headers = dict(dead_letter_headers((), replace(KILLED, disposition="deserialization"), Profile.CONNECT))

    assert headers["__connect.errors.stage"] == b"VALUE_CONVERTER"


@pytest.mark.parametrize(
    ("profile", "prefix"), [(Profile.SPRING, "kafka_dlt-exception-"), (Profile.CONNECT, "__connect.errors.exception.")]
)
def test_a_death_has_no_exception_and_still_tells_what_happened(profile: Profile, prefix: str) -> None:
    headers = {name.removeprefix(prefix): value for name, value in dead_letter_headers((), KILLED, profile)}

    assert headers.get("fqcn", headers.get("class.name")) is not None
    assert b"supervisor.worker-killed" in headers.values()
    assert headers["message"] == b"killed its worker 3 times: SIGSEGV"
    assert headers["stacktrace"] == b"File work.py, line 3"


def lives(headers: Headers, profile: Profile = Profile.TEXT) -> list[list[str]]:
    """Return which names each trimming takes away, until none of ours is left."""
    gone = []
    left: Headers | None = headers
    while left is not None:
        before, left = left, shorter(left, profile)
        if left is not None:
            gone.append([name for name, _ in before if name not in dict(left)])
    return gone


def test_headers_are_trimmed_log_lines_first_and_the_audit_id_last() -> None:
    own = (("a", b"1"), ("kafka_dlt-exception-stacktrace", b"its own"), ("supervisor.dlq.replay-count", b"1"))

    gone = lives(dead_letter_headers(own, replace(KILLED, error=_error())))

    short = [[name.removeprefix("supervisor.dlq.") for name in names] for names in gone]
    assert short[:3] == [["log-lines"], ["exception-stack", "stack"], ["reason", "exception-message"]]
    assert short[3] == [
        "topic", "partition", "offset", "timestamp", "group", "worker", "disposition", "attempts", "first-failed-at",
        "failed-at", "exception-type", "handler", "code-version", "signal", "exit-code",
    ]  # fmt: skip
    assert short[4:] == [["replay-count", "audit-id"]]


@pytest.mark.parametrize("profile", list(Profile))
def test_trimmed_to_the_end_a_letter_is_the_record_itself(profile: Profile) -> None:
    own: Headers = (("trace", b"1"), ("stack", b"its own"), ("message", b"its own"))
    headers: Headers = dead_letter_headers(own, replace(KILLED, error=_error()), profile)

    while (left := shorter(headers, profile)) is not None:
        headers = left

    assert headers == own
