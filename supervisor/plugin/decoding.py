"""Between a record and its handler: the group's decoder makes ``record.data``, or says that nothing ever will."""

import types
import typing
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from supervisor.plugin.errors import DecodeError, DependencyDownError
from supervisor.plugin.signatures import is_async
from supervisor.plugin.types import Record

Process = Callable[[Record], object]
ProcessBatch = Callable[[Sequence[Record]], object]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Stands for what a handler returned and may not, where each record needs an outcome."""

    found: object


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
        answers = [Wrong(answer)] * seen
    rest = iter(answers)
    return [known[at] if at in known else next(rest) for at in range(count)]


def data_models(function: Callable[..., object]) -> list[object]:
    """Return what a handler takes: ``[Order]`` for ``Record[Order]`` or a sequence of them, ``[]`` if it says nothing.

    More than one for ``Record[Order] | Record[Refund]``; beside others a bare ``Record`` is one of ``Any``.
    Raises ``NameError`` or ``TypeError`` when its annotations cannot be read.
    """
    face = function if hasattr(function, "__annotations__") else type(function).__call__
    hints = typing.get_type_hints(face)
    hints.pop("return", None)
    records = list(_records(next(iter(hints.values()), None)))
    if all(one is Record for one in records):
        return []
    models = [next(iter(typing.get_args(one)), Any) for one in records]
    return [one for at, one in enumerate(models) if one not in models[:at]]


def union_of(models: Iterable[object]) -> str:
    """Return the type that is any of these, as it is written in an annotation."""
    return " | ".join(dict.fromkeys(name for model in models for name in _names(model)))


def _records(annotation: object) -> Iterator[object]:
    """Yield every ``Record`` that an annotation has, with or without its type."""
    if annotation is Record or typing.get_origin(annotation) is Record:
        yield annotation
    else:
        for inner in typing.get_args(annotation):
            yield from _records(inner)


def _names(model: object) -> Iterator[str]:
    if typing.get_origin(model) in (typing.Union, types.UnionType):
        for one in typing.get_args(model):
            yield from _names(one)
    elif model is types.NoneType:
        yield "None"
    else:
        yield model.__name__ if isinstance(model, type) else str(model).removeprefix("typing.")
