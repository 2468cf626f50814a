"""Between a record and its handler: the group's decoder makes ``record.data``, or says that nothing ever will."""

import typing
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from supervisor.plugin.errors import DecodeError, DependencyDownError
from supervisor.plugin.signatures import is_async
from supervisor.plugin.types import Record

Process = Callable[[Record], object]
ProcessBatch = Callable[[Sequence[Record]], object]
WRONG: Any = object()
"""Nothing that a batch handler may give a record for its outcome."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """The hooks of the plugin that ``decode`` names; ``blocks`` is ``None`` when it never waits for anything."""

    decode: Callable[[Record], object]
    blocks: Callable[[Record], object] | None = None

    def fill(self, record: Record) -> None:
        """Set the record's data; raise ``DecodeError`` when it has none. May block where ``blocks`` said so."""
        try:
            record._data = self.decode(record)  # noqa: SLF001 - nobody but a decoder sets it
        except (DecodeError, DependencyDownError, MemoryError):
            raise
        except BaseException as error:
            raise DecodeError(f"{type(error).__name__}: {error}") from error  # noqa: TRY003, EM102 - for its dead letter

    async def fill_async(self, record: Record) -> None:
        """Do the same on an event loop."""
        if self._blocks(record):
            await to_thread(self.fill, record)
        else:
            self.fill(record)

    def _blocks(self, record: Record) -> bool:
        try:
            return self.blocks is not None and bool(self.blocks(record))
        except BaseException:  # noqa: BLE001 - user plugin: where in doubt it does
            return True


def decoding(process: Process, decoder: Decoder) -> Process:
    """Return ``process`` with the record's data made before each call; ``async`` if it is."""
    fill = decoder.fill

    def call(record: Record) -> object:
        fill(record)
        return process(record)

    async def call_async(record: Record) -> object:
        await decoder.fill_async(record)
        return await cast("Awaitable[object]", process(record))

    return call_async if is_async(process) else call


def decoding_batch(process: ProcessBatch, decoder: Decoder) -> ProcessBatch:
    """Return ``process`` called with what of a batch can be decoded; each other record fails by itself."""

    def call(records: Sequence[Record]) -> object:
        failures: dict[int, BaseException] = {}
        for at, record in enumerate(records):
            try:
                decoder.fill(record)
            except DecodeError as error:
                failures[at] = error
        if not failures:
            return process(records)
        good = _others(records, failures)
        return merged(len(records), failures, process(good) if good else None)

    async def call_async(records: Sequence[Record]) -> object:
        failures: dict[int, BaseException] = {}
        for at, record in enumerate(records):
            try:
                await decoder.fill_async(record)
            except DecodeError as error:
                failures[at] = error
        if not failures:
            return await cast("Awaitable[object]", process(records))
        good = _others(records, failures)
        return merged(len(records), failures, await cast("Awaitable[object]", process(good)) if good else None)

    return call_async if is_async(process) else call


def _others(records: Sequence[Record], failures: dict[int, BaseException]) -> list[Record]:
    return [record for at, record in enumerate(records) if at not in failures]


def merged(count: int, known: Mapping[int, object], answer: object) -> list[object]:
    """Return one outcome per record of a whole batch, of a handler that saw only those that are not ``known``."""
    seen = count - len(known)
    if answer is None:
        answers: Sequence[object] = [None] * seen
    elif isinstance(answer, Sequence) and len(answer) == seen:
        answers = answer
    else:
        answers = [WRONG] * seen
    rest = iter(answers)
    return [known[at] if at in known else next(rest) for at in range(count)]


def data_model(function: Callable[..., object]) -> object:
    """Return ``Order`` for a handler that takes a ``Record[Order]`` or a sequence of them; ``None`` if it says nothing.

    Raises ``NameError`` or ``TypeError`` when its annotations cannot be read.
    """
    face = function if hasattr(function, "__annotations__") else type(function).__call__
    hints = typing.get_type_hints(face)
    hints.pop("return", None)
    taken = next(iter(hints.values()), None)
    if typing.get_origin(taken) is not Record:
        taken = next(iter(typing.get_args(taken)), None)
    return typing.get_args(taken)[0] if typing.get_origin(taken) is Record else None
