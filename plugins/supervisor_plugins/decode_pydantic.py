"""JSON values that become what the handler's annotation says, made and checked by pydantic."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from supervisor.plugin import DecodeError, Record, hookimpl
from supervisor_plugins.models import refuse_tombstone, wanted


class PydanticDecoder:
    """``record.data`` is an ``Order`` for a handler that takes a ``Record[Order]``: a model, a dataclass, any type."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``strict`` refuses what would have to be converted, such as "1" for a number."""

        strict: bool = False

    def __init__(self, options: Options) -> None:
        self._strict = options.strict or None
        self._model: Any = Any
        self._adapter: TypeAdapter[Any] = TypeAdapter(Any)

    @hookimpl
    def data_model(self, model: object) -> None:
        """Prepare for the handler's type."""
        self._model = wanted(model)
        try:
            self._adapter = TypeAdapter(self._model)
        except PydanticSchemaGenerationError as error:
            raise ValueError(str(error).split("\n", 1)[0]) from error

    @hookimpl
    def decode(self, record: Record) -> object:
        """Decode and check the value."""
        value = record.value
        if value is None:
            refuse_tombstone(self._model)
            return None
        try:
            return self._adapter.validate_json(value, strict=self._strict)
        except ValidationError as error:
            raise DecodeError(str(error)) from None
