"""The border to the user's handler: call it, and turn whatever happens into an outcome."""

from collections.abc import Iterator, Sequence

from supervisor.plugin.active import Process, ProcessBatch
from supervisor.plugin.types import Message, Record, Records


class WrongReturnError(TypeError):
    """A handler returned something other than what its hook promises."""

    def __init__(self) -> None:
        super().__init__("the handler must return None (process_batch: None, or one outcome per record)")


def batch_outcomes(
    batch: ProcessBatch, messages: Sequence[Message], attempt: int = 1
) -> list[BaseException | None] | None:
    """Call a batch handler; return each record's failure, or ``None`` in its place; ``None`` when all are settled."""
    try:
        answers = batch(Records(messages, attempt))
        if answers is None:
            return None
        outcomes = list(answers) if isinstance(answers, Sequence) else []
    except BaseException as error:  # noqa: BLE001 - the record border, for a batch; its answer is user code, too
        return [error] * len(messages)
    if len(outcomes) != len(messages) or not all(one is None or isinstance(one, BaseException) for one in outcomes):
        return [WrongReturnError()] * len(messages)
    return outcomes if any(one is not None for one in outcomes) else None


def work_in_order(
    messages: Iterator[Message], process: Process, words: "memoryview[int]", at: int, attempt: int = 1
) -> tuple[Message, BaseException] | None:
    """Call the handler for each message until one fails; return that one. The hottest loop there is.

    Any exception is the record's failure, ``SystemExit`` and ``KeyboardInterrupt`` included: a handler does
    not decide over the process.
    """
    message: Message | None = None
    new = Record
    try:
        for message in messages:
            words[at] = message.offset()  # type: ignore[assignment]
            if process(new(message, attempt)) is not None:
                return message, WrongReturnError()
    except BaseException as error:  # noqa: BLE001 - the record border: whatever a handler raises is its record's failure
        assert message is not None  # noqa: S101 - iterating a list does not raise
        return message, error
    return None
