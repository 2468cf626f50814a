"""Values that are Protobuf behind the id of a schema in a Schema Registry. Needs the extra ``protobuf``."""

import typing
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from google.protobuf.message import Message

from supervisor.plugin import Record, hookimpl
from supervisor_plugins.models import name_of, refuse_tombstone, wanted
from supervisor_plugins.schema_registry import RegistryDecoder, RegistryOptions, by_topic, read


class ProtobufDecoder:
    """``record.data`` is an ``Order`` for a handler that takes a ``Record[Order]``, ``Order`` as protoc made it."""

    @dataclass(frozen=True, slots=True)
    class Options(RegistryOptions):
        """Without ``url`` no registry is asked: the message's class says all."""

        url: str = field(default="", repr=False)

    def __init__(self, options: Options) -> None:
        self._decoder = RegistryDecoder(options) if options.url else None
        self._model: Any = None
        self._deserializer: Any = None

    @hookimpl
    def data_model(self, model: object) -> None:
        """Prepare for the handler's message."""
        self._model = wanted(model)
        kinds = [kind for kind in typing.get_args(self._model) if kind is not NoneType] or [self._model]
        kind: Any = kinds[0]
        if len(kinds) > 1 or not isinstance(kind, type) or not issubclass(kind, Message):
            text = f"the handler takes Record[{name_of(model)}], which is no class made by protoc"
            raise ValueError(text)
        registry = self._decoder.registry if self._decoder else None
        self._deserializer = ProtobufDeserializer(kind, conf=by_topic(), schema_registry_client=registry)

    @hookimpl
    def decode(self, record: Record) -> object:
        """Decode the value; asks the registry about a schema that is new."""
        if record.value is None:
            refuse_tombstone(self._model)
            return None
        if self._decoder is None:
            return read(self._deserializer, record)
        return self._decoder.read(self._deserializer, record)

    @hookimpl
    def decode_blocks(self, record: Record) -> bool:
        """Tell whether the registry would have to be asked."""
        return self._decoder is not None and self._decoder.would_ask(record)

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the connections to the registry."""
        if self._decoder is not None:
            self._decoder.close()
