"""The decoders that come with it: what they make of values, and what they say of handlers that do not fit."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from supervisor.plugin import DecodeError, DependencyDownError, Record
from supervisor.plugin.active import Active
from supervisor.plugin.decoding import data_models
from supervisor.plugin.front import Front
from tests.plugins.conftest import FakeMessage, Write
from tests.plugins.schema_registry import SchemaRegistry
from tests.plugins.test_loader import Loaded, loaded, problem  # noqa: F401 - a fixture, among others

VALUE = SerializationContext("orders", MessageField.VALUE)
AVRO = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "int"}]}'
JSON_SCHEMA = '{"title": "Order", "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}'
OPTIONAL = "from msgspec import Struct\nclass Order(Struct):\n    id: int\ndef process(record: Record[Order | None]): "


def a_message_class() -> type[Message]:
    """Return what protoc makes of ``message Order { int32 id = 1; }``."""
    file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax="proto3")
    field = file.message_type.add(name="Order").field.add(name="id", number=1)
    field.type, field.label = field.TYPE_INT32, field.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


Order: Any = a_message_class()


def order_message(record: Record[Order]) -> None: ...


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    with SchemaRegistry() as server:
        yield server


def a_record(value: bytes | None) -> Record:
    message = FakeMessage()
    message.value = lambda: value  # type: ignore[method-assign, assignment, return-value]
    return Record(message)


Decode = Callable[..., Any]


@pytest.fixture
def decode(loaded: Loaded, write: Write) -> Decode:  # noqa: F811 - the fixture
    """Decode a value as a worker does whose handler is this source; return what the handler sees."""

    def go(decoder: str, value: bytes | None, source: str = "def process(record): ", **options: Any) -> Any:
        seen: list[Any] = []
        name = write(f"seen = []\n{source}seen.append(record.data)")
        active = loaded((f"decode_{decoder}", options), handler=f"{name}:process", front=Front(f"decode_{decoder}"))
        assert active.process is not None
        active.process(a_record(value))
        seen = sys.modules[name].seen
        (data,) = seen
        return data

    return go


# --- text and JSON -------------------------------------------------------------------------------------------


def test_without_a_decoder_data_is_the_value_and_the_handler_is_called_as_it_is(loaded: Loaded, write: Write) -> None:  # noqa: F811
    name = write("def process(record): ...")

    active = loaded(handler=f"{name}:process")

    assert active.process is sys.modules[name].process
    assert a_record(b"\xff").data == b"\xff"


def test_text_is_a_string(decode: Decode) -> None:
    assert decode("text", "grün".encode()) == "grün"
    assert decode("text", b"gr\xfcn", encoding="latin-1") == "grün"


def test_json_is_what_it_says(decode: Decode) -> None:
    assert decode("json", b'{"id": [1, null]}') == {"id": [1, None]}
    assert decode("json", b"null") is None


@pytest.mark.parametrize("decoder", ["text", "json"])
def test_a_tombstone_is_none(decode: Decode, decoder: str) -> None:
    assert decode(decoder, None) is None


@pytest.mark.parametrize(
    ("decoder", "value"),
    [("text", b"\xff"), ("json", b"{"), ("json", b"\xff"), ("json", b"[" * 100_000), ("json", b"")],
)
def test_what_cannot_be_read_is_undecodable(decode: Decode, decoder: str, value: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(decoder, value)


# --- models ------------------------------------------------------------------------------------------------

MODELS = {
    "msgspec": "from msgspec import Struct\nclass Order(Struct):\n    id: int\n",
    "pydantic": "from pydantic import BaseModel\nclass Order(BaseModel):\n    id: int\n",
}


@pytest.mark.parametrize("decoder", MODELS)
def test_the_handlers_annotation_says_what_data_is(decode: Decode, decoder: str) -> None:
    order = decode(decoder, b'{"id": 7}', f"{MODELS[decoder]}def process(record: Record[Order]): ")

    assert type(order).__name__ == "Order"
    assert order.id == 7


@pytest.mark.parametrize("decoder", MODELS)
def test_dataclasses_are_models_too(decode: Decode, decoder: str) -> None:
    source = "@dataclass\nclass Order:\n    id: int\ndef process(record: Record[Order]): "

    assert decode(decoder, b'{"id": 7}', source).id == 7


@pytest.mark.parametrize("value", [b'{"id": "seven"}', b"{}", b"nonsense"])
@pytest.mark.parametrize("decoder", MODELS)
def test_a_value_that_is_no_such_model_is_undecodable(decode: Decode, decoder: str, value: bytes) -> None:
    with pytest.raises(DecodeError, match=r"id|nonsense|malformed|JSON"):
        decode(decoder, value, f"{MODELS[decoder]}def process(record: Record[Order]): ")


@pytest.mark.parametrize("decoder", MODELS)
def test_a_tombstone_is_undecodable_unless_the_annotation_allows_none(decode: Decode, decoder: str) -> None:
    with pytest.raises(DecodeError, match=r"Record\[Order \| None\]"):
        decode(decoder, None, f"{MODELS[decoder]}def process(record: Record[Order]): ")

    assert decode(decoder, None, f"{MODELS[decoder]}def process(record: Record[Order | None]): ") is None


def test_msgspec_reads_messagepack_where_it_is_told_to(decode: Decode) -> None:
    source = f"{MODELS['msgspec']}def process(record: Record[Order]): "

    assert decode("msgspec", b"\x81\xa2id\x07", source, format="msgpack").id == 7


@dataclass
class Plain:
    id: int


def one(record: Record[Plain]) -> None: ...
def many(records: "list[Record[Plain]]") -> None: ...
def silent(record) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
def bare(record: Record) -> None: ...


class Both:
    def process(self, record: Record[Plain]) -> None: ...
    def __call__(self, record: Record[Plain]) -> None: ...


def test_models_are_found_in_functions_methods_objects_and_batches() -> None:
    assert [data_models(f) for f in (one, many, Both().process, Both())] == [[Plain]] * 4
    assert [data_models(f) for f in (silent, bare)] == [[], []]


def maybe(record: Record[Plain] | None) -> None: ...
def either(records: Sequence[Record[Plain]] | list[Record[Plain]]) -> None: ...
def any_of(record: Record[Plain | int]) -> None: ...


def test_models_are_found_wherever_an_annotation_has_its_one() -> None:
    assert [data_models(f) for f in (maybe, either)] == [[Plain]] * 2
    assert data_models(any_of) == [Plain | int]


# --- what does not fit, told before anything starts ------------------------------------------------------------


@pytest.mark.parametrize("decoder", ["msgspec", "pydantic", "protobuf"])
def test_a_decoder_of_models_wants_an_annotation(loaded: Loaded, write: Write, decoder: str) -> None:  # noqa: F811
    name = write("def process(record): ...")

    found = problem(loaded, f"decode_{decoder}", handler=f"{name}:process", front=Front(f"decode_{decoder}"))

    assert "process(record: Record[Order])" in found.text


@pytest.mark.parametrize("decoder", ["msgspec", "pydantic", "json", "text", ""])
@pytest.mark.parametrize(
    ("handler", "instead"),
    [
        ("process(record: Record[Order] | Record[int])", "Record[Order | int]"),
        ("process(record: Record[Order | None] | Record[int])", "Record[Order | None | int]"),
        ("process(record: Record[Order] | Record)", "Record[Order | Any]"),
        ("process_batch(records: Sequence[Record[Order] | Record[int]])", "Record[Order | int]"),
        ("process_batch(records: Sequence[Record[Order]] | list[Record[int]])", "Record[Order | int]"),
    ],
)
def test_a_handler_that_takes_more_than_one_type_of_record_is_told_to_take_one(
    loaded: Loaded,  # noqa: F811
    write: Write,
    decoder: str,
    handler: str,
    instead: str,
) -> None:
    name = write(f"from collections.abc import Sequence\n@dataclass\nclass Order:\n    id: int\ndef {handler}: ...")
    plugins, decode = ((f"decode_{decoder}",), f"decode_{decoder}") if decoder else ((), "")
    target = f"{name}:{handler.partition('(')[0]}"

    found = problem(loaded, *plugins, handler=target, front=Front(decode))

    assert found.plugin == f"handler '{target}'"
    assert found.text.startswith("it takes more than one type of record: Record[Order")
    assert f"write {instead}" in found.help


def test_plain_values_are_no_models(loaded: Loaded, write: Write) -> None:  # noqa: F811
    name = write("@dataclass\nclass Order:\n    id: int\ndef process(record: Record[Order]): ...")

    found = problem(loaded, "decode_json", handler=f"{name}:process", front=Front("decode_json"))

    assert 'decode = "pydantic"' in found.text


def test_a_handler_that_takes_data_needs_a_decoder(loaded: Loaded, write: Write) -> None:  # noqa: F811
    name = write("def process(record: Record[dict[str, int]]): ...")

    found = problem(loaded, handler=f"{name}:process")

    assert found.text == "takes data that nothing makes: its group has no decoder"


UNREADABLE = """
    from typing import TYPE_CHECKING
    if TYPE_CHECKING:
        from elsewhere import Order
    def process(record: "Record[Order]"): ...
"""


def test_annotations_that_nobody_needs_may_name_what_is_only_there_for_type_checkers(
    loaded: Loaded,  # noqa: F811
    write: Write,
) -> None:
    name = write(UNREADABLE)

    active = loaded(handler=f"{name}:process")

    assert active.process is sys.modules[name].process


def test_annotations_that_a_decoder_of_models_cannot_read_are_told(loaded: Loaded, write: Write) -> None:  # noqa: F811
    name = write(UNREADABLE)

    found = problem(loaded, "decode_pydantic", handler=f"{name}:process", front=Front("decode_pydantic"))

    assert "annotations cannot be read" in found.text
    assert "at run time" in found.help


@pytest.mark.parametrize("taken", ["Order | None", "list[Order]", "dict[str, Order | int]"])
def test_plain_values_are_no_models_within_others_either(loaded: Loaded, write: Write, taken: str) -> None:  # noqa: F811
    name = write(f"@dataclass\nclass Order:\n    id: int\ndef process(record: Record[{taken}]): ...")

    found = problem(loaded, "decode_json", handler=f"{name}:process", front=Front("decode_json"))

    assert 'decode = "pydantic"' in found.text


@pytest.mark.parametrize("taken", ["bytes", "dict[str, int]", "Order"])
def test_text_is_nothing_but_text(loaded: Loaded, write: Write, taken: str) -> None:  # noqa: F811
    name = write(f"@dataclass\nclass Order:\n    id: int\ndef process(record: Record[{taken}]): ...")

    found = problem(loaded, "decode_text", handler=f"{name}:process", front=Front("decode_text"))

    assert found.text.startswith("the handler takes Record[")
    assert found.text.endswith("], but this makes str")


@pytest.mark.parametrize("taken", ["str", "str | None", "object", "Any"])
def test_text_is_taken_as_such(decode: Decode, taken: str) -> None:
    assert decode("text", b"a", f"from typing import Any\ndef process(record: Record[{taken}]): ") == "a"


def test_a_plugin_without_the_hook_is_no_decoder(loaded: Loaded, write: Write) -> None:  # noqa: F811
    name = write("def process(record): ...")

    found = problem(loaded, "dlq_file", handler=f"{name}:process", front=Front("dlq_file"))

    assert found.text == "is no decoder: it has no hook 'decode'"


def test_a_decoder_that_nothing_names_is_refused(loaded: Loaded, write: Write) -> None:  # noqa: F811
    name = write("def process(record): ...")

    found = problem(loaded, "decode_json", handler=f"{name}:process")

    assert found.help == 'write decode = "decode_json"'


@pytest.mark.parametrize(
    ("decoder", "module", "extra"),
    [
        ("msgspec", "msgspec", "msgspec"),
        ("avro", "fastavro", "avro"),
        ("protobuf", "google.protobuf.message", "protobuf"),
        ("json_schema", "jsonschema", "json-schema"),
        ("avro", "httpx2", "avro"),
    ],
)
def test_a_missing_extra_is_told_by_the_command_that_installs_it(
    loaded: Loaded,  # noqa: F811
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    decoder: str,
    module: str,
    extra: str,
) -> None:
    for loaded_module in [
        one for one in sys.modules if one.startswith(("supervisor_plugins", "confluent_kafka.schema"))
    ]:
        monkeypatch.delitem(sys.modules, loaded_module)
    monkeypatch.setitem(sys.modules, module, None)
    name = write("def process(record): ...")

    found = problem(loaded, f"decode_{decoder}", handler=f"{name}:process", front=Front(f"decode_{decoder}"))

    assert found.help == f"pip install 'kafka-supervisor[{extra}]'"


def test_a_users_own_decoder_is_a_plugin_with_the_hook(loaded: Loaded, write: Write) -> None:  # noqa: F811
    name = write("""
        class Codec:
            @hookimpl
            def decode(self, record): return record.value[::-1]

        seen = []
        def process(record): seen.append(record.data)
    """)

    active = loaded(f"{name}:Codec", handler=f"{name}:process", front=Front(f"{name}:Codec"))

    assert active.process is not None
    active.process(a_record(b"abc"))
    assert sys.modules[name].seen == [b"cba"]


# --- the registry ------------------------------------------------------------------------------------------


def serialized(registry: SchemaRegistry, kind: str, number: int = 7) -> bytes:
    """Return the value that a producer would write: an order, by confluent-kafka's own serializer."""
    with SchemaRegistryClient({"url": registry.url}) as client:
        conf: dict[str, Any] = {"subject.name.strategy.type": "TOPIC"}
        serializer: Any
        order: Any = {"id": number}
        if kind == "avro":
            serializer = AvroSerializer(client, AVRO, conf=conf)
        elif kind == "json_schema":
            serializer = JSONSerializer(JSON_SCHEMA, client, conf=conf)
        else:
            serializer = ProtobufSerializer(Order, client, conf={**conf, "use.deprecated.format": False})
            order = Order(id=number)
        value = serializer(order, VALUE)
    assert isinstance(value, bytes)
    return value


KINDS = ("avro", "json_schema", "protobuf")
Open = Callable[..., Active]


@pytest.fixture
def opened(loaded: Loaded, registry: SchemaRegistry) -> Iterator[Open]:  # noqa: F811
    """Load a registry decoder in front of a handler that keeps what it sees in ``seen``."""
    opened: list[Active] = []

    def go(kind: str, handler: Callable[[Record], object], taken: Any = Order, **options: Any) -> Active:
        plugin, annotated = f"decode_{kind}", handler
        if kind == "protobuf":
            annotated.__annotations__["record"] = Record[taken]
        module = sys.modules[__name__]
        module.__dict__["handler"] = annotated
        target = f"{__name__}:handler"
        active = loaded((plugin, {"url": registry.url, **options}), handler=target, front=Front(plugin))
        opened.append(active)
        active.opened = True
        return active

    yield go
    for active in opened:
        active.worker_stopping()


@pytest.mark.parametrize("kind", KINDS)
def test_what_confluents_serializers_write_is_read_back(registry: SchemaRegistry, opened: Open, kind: str) -> None:
    seen: list[Any] = []

    active = opened(kind, lambda record: seen.append(record.data))
    assert active.process is not None
    active.process(a_record(serialized(registry, kind)))

    assert seen == [Order(id=7) if kind == "protobuf" else {"id": 7}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_asked_for_once(registry: SchemaRegistry, opened: Open, kind: str) -> None:
    value = serialized(registry, kind)
    active = opened(kind, lambda record: None)
    assert active.process is not None
    registry.asked.clear()

    for _ in range(3):
        active.process(a_record(value))

    assert registry.asked == ["/schemas/ids/1"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value", [b"", b"{}", b"\0\0\0\0", b"\0\0\0\0\x63rest", b"\0\xff\xff\xff\xffrest", b"\x01" * 20]
)
def test_a_value_without_the_id_of_a_known_schema_is_undecodable(
    registry: SchemaRegistry, opened: Open, kind: str, value: bytes
) -> None:
    active = opened(kind, lambda record: None)
    assert active.process is not None

    with pytest.raises(DecodeError):
        active.process(a_record(value))


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_not_as_its_schema_says_is_undecodable(
    registry: SchemaRegistry, opened: Open, kind: str
) -> None:
    head = serialized(registry, kind)[:5]
    active = opened(kind, lambda record: None)
    assert active.process is not None

    with pytest.raises(DecodeError):
        active.process(a_record(head + b"\xff\xff"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trouble", [500, 503, 401, 404, 429, "nonsense", "slow", "gone"])
def test_a_registry_that_is_away_is_a_dependency_that_is_down(
    registry: SchemaRegistry, opened: Open, kind: str, trouble: int | str
) -> None:
    value = serialized(registry, kind)
    options: dict[str, Any] = {"timeout": 0.2}
    if trouble == "nonsense":
        registry.nonsense = True
    elif trouble == "slow":
        registry.patience = 1.0
    elif trouble == "gone":
        options["url"] = "http://127.0.0.1:1"
    else:
        registry.refuse = int(trouble)
    active = opened(kind, lambda record: None, **options)
    assert active.process is not None

    with pytest.raises(DependencyDownError) as caught:
        active.process(a_record(value))

    assert caught.value.dependency == "schema-registry"


def test_p10_the_log_says_how_a_registry_refused_and_not_where_it_is(
    registry: SchemaRegistry, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    value, registry.refuse = serialized(registry, "avro"), 401
    active = opened("avro", lambda record: None, user="me", password="geheim")
    assert active.process is not None

    with pytest.raises(DependencyDownError):
        active.process(a_record(value))

    (told,) = [line for line in caplog.records if line.message == "schema_registry.failed"]
    assert cast("Any", told).fields == {"error": "SchemaRegistryError", "status": 401}


@pytest.mark.parametrize("kind", KINDS)
def test_known_schemas_are_read_while_the_registry_is_away(registry: SchemaRegistry, opened: Open, kind: str) -> None:
    seen: list[Any] = []
    value = serialized(registry, kind)
    active = opened(kind, lambda record: seen.append(record.data))
    assert active.process is not None

    active.process(a_record(value))
    registry.refuse = 503
    active.process(a_record(value))

    assert len(seen) == 2


def test_avro_is_read_as_the_schema_of_the_options_says(registry: SchemaRegistry, opened: Open) -> None:
    seen: list[Any] = []
    schema = AVRO.replace("]}", ', {"name": "currency", "type": "string", "default": "EUR"}]}')

    active = opened("avro", lambda record: seen.append(record.data), schema=schema)
    assert active.process is not None
    active.process(a_record(serialized(registry, "avro")))

    assert seen == [{"id": 7, "currency": "EUR"}]


def test_protobuf_without_an_url_asks_nobody(registry: SchemaRegistry, opened: Open) -> None:
    seen: list[Any] = []
    value = serialized(registry, "protobuf")
    registry.asked.clear()

    active = opened("protobuf", lambda record: seen.append(record.data), url="")
    assert active.process is not None
    active.process(a_record(value))

    assert (seen, registry.asked) == ([Order(id=7)], [])


def test_a_message_may_stand_on_either_side_of_none(opened: Open, registry: SchemaRegistry) -> None:
    seen: list[Any] = []

    active = opened("protobuf", lambda record: seen.append(record.data), url="", taken=None | Order)
    assert active.process is not None
    active.process(a_record(serialized(registry, "protobuf")))
    active.process(a_record(None))

    assert seen == [Order(id=7), None]


def test_the_password_is_in_no_repr(opened: Open) -> None:
    from supervisor_plugins.schema_registry import RegistryOptions  # noqa: PLC0415 - beside what it is about

    assert "geheim" not in repr(RegistryOptions("http://x", "me", "geheim", settings={"bearer.auth.token": "geheim"}))
