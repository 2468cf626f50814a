"""Values that become what the handler's annotation says, made and checked by msgspec. Needs the extra ``msgspec``."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from supervisor.plugin import Record, hookimpl
from supervisor_plugins.models import refuse_tombstone, wanted


class MsgspecDecoder:
    """``record.data`` is an ``Order`` for a handler that takes a ``Record[Order]``: a struct, a dataclass, any type."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``format`` is what the values are; ``strict = false`` takes "1" for a number."""

        format: Literal["json", "msgpack"] = "json"
        strict: bool = True

    def __init__(self, options: Options) -> None:
        self._options = options
        self._model: Any = Any
        self._decode = msgspec.json.Decoder(Any).decode

    @hookimpl
    def data_model(self, model: object) -> None:
        """Prepare for the handler's type."""
        self._model = wanted(model)
        kind: Any = msgspec.json.Decoder if self._options.format == "json" else msgspec.msgpack.Decoder
        try:
            self._decode = kind(self._model, strict=self._options.strict).decode
        except TypeError as error:
            raise ValueError(str(error)) from error

    @hookimpl
    def decode(self, record: Record) -> object:
        """Decode and check the value."""
        value = record.value
        if value is None:
            refuse_tombstone(self._model)
            return None
        return self._decode(value)
