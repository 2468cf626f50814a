"""What decoders share that ask a Schema Registry for the schemas that records were written with."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from supervisor.plugin import DecodeError, DependencyDownError, Record, Seconds, hookimpl
from supervisor_plugins.models import refuse_models

logger = logging.getLogger(__name__)
UNKNOWN = frozenset({40401, 40402, 40403})
"""What a registry says of a subject, version or schema that it does not have; a proxy that is lost says 404 alone."""
UNKNOWN_GUID = UNKNOWN | {404, SchemaRegistryError.UNKNOWN}
"""The same of a GUID: an older registry has no such address, and any value may begin as one with a GUID does."""
LARGEST_ID = 2**31 - 1
"""Registries count in 32 bits with a sign: they do not even look for what is larger."""
ID_HEADER = "__value_schema_id"
ID_LENGTH, GUID_LENGTH = 5, 17
MOST_KNOWN = 500
"""Schemas; the client itself keeps 1,000."""

Answer = TypeVar("Answer")


class Deserializer(Protocol):
    """One of confluent-kafka's."""

    def __call__(self, data: bytes | None, ctx: SerializationContext | None = None) -> object: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """``settings`` are other keys of confluent-kafka's client; ``timeout`` bounds one question to the registry."""

    url: str = field(repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: Seconds = 5.0
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse what has keys of its own, and a URL that is none; never repeat it."""
        if self.url and not all(one.strip().startswith(("http://", "https://")) for one in self.url.split(",")):
            text = "url must begin with https:// or http://"
            raise ValueError(text)
        for key, instead in (("url", "url"), ("timeout", "timeout"), ("basic.auth.user.info", "user and password")):
            if key in self.settings:
                text = f"settings has {key!r}; write {instead} instead"
                raise ValueError(text)


@dataclass(frozen=True, slots=True)
class ReaderOptions(RegistryOptions):
    """``schema`` is what the data is to be read as, its text; without it each record is read as it was written."""

    schema: str = ""


class Registry(SchemaRegistryClient):
    """A client that tells a registry that is away from one that says no. It tries once: records wait elsewhere."""

    def __init__(self, options: RegistryOptions) -> None:
        settings = {"max.retries": 0, **options.settings, "url": options.url, "timeout": options.timeout}
        if options.user:
            settings["basic.auth.user.info"] = f"{options.user}:{options.password}"
        super().__init__(settings)

    def get_schema(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401, D102
        with _Asking():
            return super().get_schema(*args, **more)

    def get_schema_by_guid(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401, D102
        with _Asking(UNKNOWN_GUID):
            return super().get_schema_by_guid(*args, **more)

    def get_version(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401, D102
        with _Asking():
            return super().get_version(*args, **more)


class _Asking:
    """Whatever goes wrong while a registry is asked is its fault, unless it says that it has no such schema.

    ``codes`` are how it says so in a 404.
    """

    def __init__(self, codes: Collection[int] = UNKNOWN) -> None:
        self._codes = codes

    def __enter__(self) -> None:
        """Begin to ask."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Say whose fault a failure is."""
        match error:
            case SchemaRegistryError(http_status_code=404, error_code=code) if code in self._codes:
                return
            case Exception():
                fields = {"error": type(error).__qualname__, "status": getattr(error, "http_status_code", None)}
                logger.warning("schema_registry.failed", extra={"fields": fields})
                raise DependencyDownError(dependency="schema-registry") from error


class RegistryDecoder:
    """Decodes by a deserializer of confluent-kafka's, and knows which records it would ask the registry about."""

    def __init__(self, options: RegistryOptions) -> None:
        self.options = options
        self.registry = Registry(options)
        self._known: set[bytes] = set()

    def read(self, deserializer: Deserializer, record: Record) -> object:
        """Return the record's data; asks the registry about a schema that is new."""
        if record.value is None:
            return None
        schema = _schema_of(record)
        if schema[:1] == b"\0" and int.from_bytes(schema[1:], "big") > LARGEST_ID:
            text = "the value does not begin with the id of a schema"
            raise DecodeError(text)
        data = read(deserializer, record)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known.add(schema)
        return data

    def would_ask(self, record: Record) -> bool:
        """Tell whether ``read`` may ask the registry."""
        return record.value is not None and _schema_of(record) not in self._known

    def close(self) -> None:
        """Close the connections to the registry."""
        self.registry.close()


class SchemaDecoder(ABC):
    """A decoder plugin whose data are plain values, as a schema says; a subclass says what reads them."""

    Options = ReaderOptions

    def __init__(self, options: ReaderOptions) -> None:
        self._decoder = RegistryDecoder(options)
        self._deserializer = self.deserializer(self._decoder.registry, options.schema or None)

    @abstractmethod
    def deserializer(self, registry: Registry, schema: str | None) -> Deserializer:
        """Return what reads values; ``schema`` is the text of what they are to be read as."""

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


def read(deserializer: Deserializer, record: Record) -> object:
    """Return what a deserializer makes of a record's value."""
    headers = cast("Any", record.headers) or None
    return deserializer(record.value, SerializationContext(record.origin[0], MessageField.VALUE, headers))


def _schema_of(record: Record) -> bytes:
    """Return what names the schema of a record, in the three places where serializers write it."""
    for name, content in record.headers:
        if name == ID_HEADER:
            return content or b""
    value = record.value or b""
    return value[: ID_LENGTH if value[:1] == b"\0" else GUID_LENGTH]


def by_topic() -> dict[str, Any]:
    """Return a deserializer's settings: a subject is its topic's, and nobody needs to be asked about that."""
    return {"subject.name.strategy": topic_subject_name_strategy}
