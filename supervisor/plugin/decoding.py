"""Between a record and its handler: the group's decoder makes ``record.data``, or says that nothing ever will."""

import typing
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from supervisor.plugin.active import Named
from supervisor.plugin.errors import DecodeError, DependencyDownError, Problem
from supervisor.plugin.importing import failure
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
        return _merged(len(records), failures, process(good) if good else None)

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
        return _merged(len(records), failures, await cast("Awaitable[object]", process(good)) if good else None)

    return call_async if is_async(process) else call


def _others(records: Sequence[Record], failures: dict[int, BaseException]) -> list[Record]:
    return [record for at, record in enumerate(records) if at not in failures]


def _merged(count: int, failures: dict[int, BaseException], answer: object) -> list[object]:
    """Return one outcome per record of the whole batch, of a handler that saw only what is not in ``failures``."""
    seen = count - len(failures)
    if answer is None:
        answers: Sequence[object] = [None] * seen
    elif isinstance(answer, Sequence) and len(answer) == seen:
        answers = answer
    else:
        answers = [WRONG] * seen
    rest = iter(answers)
    return [failures[at] if at in failures else next(rest) for at in range(count)]


def decoded(name: str, hooks: Mapping[str, Sequence[Named]]) -> dict[str, list[Named]]:
    """Return the handler's hooks with the decoder called ``name`` in front of them; nothing changes without one."""
    decode = dict(hooks["decode"]).get(name)
    if decode is None:
        return {}
    decoder = Decoder(decode, dict(hooks["decode_blocks"]).get(name))
    return {
        "process": [(one, decoding(function, decoder)) for one, function in hooks["process"]],
        "process_batch": [(one, decoding_batch(function, decoder)) for one, function in hooks["process_batch"]],
    }


def decoder_problems(name: str, hooks: Mapping[str, Sequence[Named]]) -> Iterable[Problem]:
    """Tell the decoder called ``name`` ("" for none) what the handler takes; yield what does not fit."""
    for other in dict(hooks["decode"]).keys() - {name}:
        yield Problem(
            other, "has the hook 'decode', but the group's decode does not name it", f'write decode = "{other}"'
        )
    handler, function = next(iter((*hooks["process"], *hooks["process_batch"])))
    try:
        model = data_model(function)
    except (NameError, TypeError) as error:
        yield Problem(handler, f"its annotations cannot be read: {error}", "import at run time what they name")
        return
    if not name:
        if model not in (None, Any, object, bytes, bytes | None):
            help_ = 'say how: decode = "msgspec", "pydantic", "json", "avro", "protobuf" or "json-schema"'
            yield Problem(handler, "takes data that nothing makes: its group has no decoder", help_)
    elif name not in dict(hooks["decode"]):
        yield Problem(name, "is no decoder: it has no hook 'decode'", "let decode name a plugin that has it")
    elif learn := dict(hooks["data_model"]).get(name):
        yield from _told(name, learn, model)


def _told(name: str, learn: Callable[[object], object], model: object) -> Iterable[Problem]:
    try:
        learn(model)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - user code
        yield Problem(name, str(error) if type(error) is ValueError else failure(error))


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
