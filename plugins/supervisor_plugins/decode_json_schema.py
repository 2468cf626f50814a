"""Values that are JSON behind the id of a schema in a Schema Registry. Needs the extra ``json-schema``."""

from typing import Any

from confluent_kafka.schema_registry.json_schema import JSONDeserializer

from supervisor.plugin import Record, hookimpl
from supervisor_plugins.models import refuse_models
from supervisor_plugins.schema_registry import ReaderOptions, RegistryDecoder, by_topic


class JsonSchemaDecoder:
    """``record.data`` is what the JSON says, checked against the schema; ``None`` for a tombstone."""

    Options = ReaderOptions

    def __init__(self, options: ReaderOptions) -> None:
        self._decoder = RegistryDecoder(options)
        schema: Any = options.schema or None
        self._deserializer = JSONDeserializer(schema, schema_registry_client=self._decoder.registry, conf=by_topic())

    @hookimpl
    def data_model(self, model: object) -> None:
        """Refuse classes: nothing here would make them."""
        refuse_models(model)

    @hookimpl
    def decode(self, record: Record) -> object:
        """Decode the value; asks the registry about a schema that is new."""
        return self._decoder.read(self._deserializer, record)

    @hookimpl
    def decode_blocks(self, record: Record) -> bool:
        """Tell whether the registry would have to be asked."""
        return self._decoder.would_ask(record)

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the connections to the registry."""
        self._decoder.close()
