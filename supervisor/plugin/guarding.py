"""A handler with a ``Guard`` in front of it: called only for records whose key is not done yet."""

from asyncio import CancelledError, get_running_loop, shield, to_thread
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar, cast

from supervisor.plugin.decoding import Process, ProcessBatch, Wrong, merged
from supervisor.plugin.idempotency import Guard, Turn
from supervisor.plugin.signatures import is_async
from supervisor.plugin.types import Record

Answer = TypeVar("Answer")


def guarding(process: Process, guard: Guard) -> Process:
    """Return ``process`` called only for records whose key is not done yet; ``async`` if it is."""

    def call(record: Record) -> object:
        turn = guard.turn()
        guard.begin(turn, (record,))
        if turn.known:
            return _only([turn.known[0]])
        try:
            answer = process(record)
        except BaseException:
            guard.release(turn)
            raise
        return _only(guard.end(turn, (_answer(answer),)))

    async def call_async(record: Record) -> object:
        turn = guard.turn()
        await _aside(guard, turn, guard.begin, (record,))
        if turn.known:
            return _only([turn.known[0]])
        try:
            answer = await cast("Awaitable[object]", process(record))
        except BaseException:
            await to_thread(guard.release, turn)
            raise
        return _only(await _aside(guard, turn, guard.end, (_answer(answer),)))

    return call_async if is_async(process) else call


def guarding_batch(process: ProcessBatch, guard: Guard) -> ProcessBatch:
    """Return ``process`` called with those of a batch whose keys are not done yet."""

    def call(records: Sequence[Record]) -> object:
        turn = guard.turn()
        guard.begin(turn, records)
        seen = _unknown(turn, records)
        try:
            answer = process(seen) if seen else None
        except BaseException:
            guard.release(turn)
            raise
        return guard.end(turn, merged(len(records), turn.known, answer))

    async def call_async(records: Sequence[Record]) -> object:
        turn = guard.turn()
        await _aside(guard, turn, guard.begin, records)
        seen = _unknown(turn, records)
        try:
            answer = await cast("Awaitable[object]", process(seen)) if seen else None
        except BaseException:
            await to_thread(guard.release, turn)
            raise
        return await _aside(guard, turn, guard.end, merged(len(records), turn.known, answer))

    return call_async if is_async(process) else call


async def _aside(guard: Guard, turn: Turn, function: Callable[..., Answer], *args: object) -> Answer:
    """Call one of the guard's own in a thread; when this is cancelled meanwhile, nothing stays claimed."""
    loop = get_running_loop()
    future = loop.run_in_executor(None, function, turn, *args)

    def give_back(_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: so will the leases
            loop.run_in_executor(None, guard.release, turn)

    try:
        return await shield(future)
    except CancelledError:
        future.add_done_callback(give_back)
        raise


def _unknown(turn: Turn, records: Sequence[Record]) -> Sequence[Record]:
    return [record for at, record in enumerate(records) if at not in turn.known] if turn.known else records


def _answer(answer: object) -> object:
    """Return a handler's answer; an exception that was not raised is no outcome of a single record."""
    return Wrong(answer) if isinstance(answer, BaseException) else answer


def _only(outcomes: Sequence[object]) -> object:
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
