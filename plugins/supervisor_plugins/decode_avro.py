"""Values that are Avro behind the id of a schema in a Schema Registry. Needs the extra ``avro``."""

from typing import Any

from confluent_kafka.schema_registry.avro import AvroDeserializer

from supervisor_plugins.schema_registry import Deserializer, Registry, SchemaDecoder, by_topic


class AvroDecoder(SchemaDecoder):
    """``record.data`` is a dict, or what else the schema says; ``None`` for a tombstone."""

    def deserializer(self, registry: Registry, schema: Any) -> Deserializer:  # noqa: ANN401 - confluent-kafka's own
        """Return one that takes an Avro schema, or none."""
        made: Deserializer = AvroDeserializer(registry, schema, conf=by_topic())
        return made
