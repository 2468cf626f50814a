"""Values that are JSON behind the id of a schema in a Schema Registry. Needs the extra ``json-schema``."""

from typing import Any

from confluent_kafka.schema_registry.json_schema import JSONDeserializer

from supervisor_plugins.schema_registry import Deserializer, Registry, SchemaDecoder, by_topic


class JsonSchemaDecoder(SchemaDecoder):
    """``record.data`` is what the JSON says, checked against the schema; ``None`` for a tombstone."""

    def deserializer(self, registry: Registry, schema: Any) -> Deserializer:  # noqa: ANN401 - confluent-kafka's own
        """Return one that takes a JSON schema, or none."""
        made: Deserializer = JSONDeserializer(schema, schema_registry_client=registry, conf=by_topic())
        return made
