"""The border to the user's handler: call it, and turn whatever happens into an outcome."""

from collections.abc import Callable, Iterator, Sequence

from supervisor.core.durations import format_duration
from supervisor.plugin.active import Process, ProcessBatch
from supervisor.plugin.decoding import Wrong
from supervisor.plugin.types import Message, Record, Records

Emit = Callable[[Message, object], None]
"""Takes what a handler returned for a record instead of ``None``; what it raises is the record's failure."""


class WrongReturnError(TypeError):
    """A handler returned something other than what its hook promises; ``found`` is of what type, never a value."""

    def __init__(self, found: str) -> None:
        instead = "None, a Produce or a list of them (process_batch: None, or one outcome per record)"
        super().__init__(f"the handler returned {found}; it must return {instead}")
        self.found = found


class HandlerTimeoutError(TimeoutError):
    """A handler took longer than ``handler_timeout`` and was cancelled."""

    def __init__(self, timeout: float) -> None:
        super().__init__(f"the handler took longer than {format_duration(timeout)} and was cancelled")


def kind_of(answer: object) -> str:
    """Return the name of the type of what user code returned."""
    return type(answer.found if isinstance(answer, Wrong) else answer).__name__


def batch_outcomes(
    batch: ProcessBatch, messages: Sequence[Message], emit: Emit, attempt: int = 1
) -> list[BaseException | None] | None:
    """Call a batch handler; return each record's failure, or ``None`` in its place; ``None`` when all are settled."""
    try:
        answers = batch(Records(messages, attempt))
        if answers is None:
            return None
        outcomes = list(answers) if isinstance(answers, Sequence) else []
        if len(outcomes) != len(messages):
            found = f"{kind_of(answers)} of {len(outcomes)}" if isinstance(answers, Sequence) else kind_of(answers)
            return [WrongReturnError(f"{found} for {len(messages)} records")] * len(messages)
    except BaseException as error:  # noqa: BLE001 - the record border, for a batch; its answer is user code, too
        return [error] * len(messages)
    failures = [_failure(message, outcome, emit) for message, outcome in zip(messages, outcomes, strict=True)]
    return failures if any(one is not None for one in failures) else None


def _failure(message: Message, outcome: object, emit: Emit) -> BaseException | None:
    if outcome is None or isinstance(outcome, BaseException):
        return outcome
    try:
        emit(message, outcome)
    except BaseException as error:  # noqa: BLE001 - the record border, for one record of a batch
        return error
    return None


def work_in_order(
    messages: Iterator[Message], process: Process, words: "memoryview[int]", *, at: int, emit: Emit, attempt: int = 1
) -> tuple[Message, BaseException] | None:
    """Call the handler for each message until one fails; return that one. The hottest loop there is.

    Any exception is the record's failure, ``SystemExit`` and ``KeyboardInterrupt`` included: a handler does
    not decide over the process.
    """
    message: Message | None = None
    new, kind = object.__new__, Record
    try:
        for message in messages:
            words[at] = message.offset()  # type: ignore[assignment]
            record = new(kind)  # what Record(message, attempt) does, for three quarters of the price
            record._message = message  # noqa: SLF001 - as its own constructor
            record.attempt = attempt
            answer = process(record)
            if answer is not None:
                emit(message, answer)
    except BaseException as error:  # noqa: BLE001 - the record border: whatever a handler raises is its record's failure
        assert message is not None  # noqa: S101 - iterating a list does not raise
        return message, error
    return None
