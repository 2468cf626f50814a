"""What stands in front of a handler: first the store of worked keys, then the decoder. Each only where one is named."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.core.spec import IdempotencySpec
from supervisor.plugin.active import Named
from supervisor.plugin.decoding import Decoder, data_models, decoding, decoding_batch, union_of
from supervisor.plugin.errors import PluginError, Problem
from supervisor.plugin.guarding import guarding, guarding_batch
from supervisor.plugin.idempotency import Guard, Store
from supervisor.plugin.importing import failure, import_object
from supervisor.plugin.signatures import takes, unusable
from supervisor.plugin.types import Record

LONGEST_KEY = 200
"""Characters; longer ones are kept as a hash."""
HASH = "sha256:"


@dataclass(frozen=True, slots=True)
class Front:
    """Which plugin decodes ("" for none), and how worked keys are kept."""

    decoder: str = ""
    idempotency: IdempotencySpec | None = None


NOTHING = Front()


def front_problems(front: Front, hooks: Mapping[str, Sequence[Named]]) -> Iterable[Problem]:
    """Tell the decoder what the handler takes; yield what does not fit of decoder, store and handler."""
    yield from _decoder_problems(front.decoder, hooks)
    yield from _store_problems(front.idempotency, hooks)


def put_in_front(front: Front, hooks: dict[str, list[Named]], *, group: str) -> Guard | None:
    """Replace the handler's hooks by those with all in front of them; the order of their problems was looked at."""
    decode = dict(hooks["decode"]).get(front.decoder)
    if decode is not None:
        decoder = Decoder(decode, dict(hooks["decode_blocks"]).get(front.decoder))
        hooks["process"] = [(name, decoding(function, decoder)) for name, function in hooks["process"]]
        hooks["process_batch"] = [(name, decoding_batch(one, decoder)) for name, one in hooks["process_batch"]]
    spec = front.idempotency
    if spec is None:
        return None
    claim, done, release = (dict(hooks[hook])[spec.store] for hook in ("claim", "done", "release"))
    guard = Guard(
        Store(spec.store, claim, done, release), key_function(spec.key, group), ttl=spec.ttl, lease=spec.lease
    )
    hooks["process"] = [(name, guarding(function, guard)) for name, function in hooks["process"]]
    hooks["process_batch"] = [(name, guarding_batch(one, guard)) for name, one in hooks["process_batch"]]
    return guard


def _decoder_problems(name: str, hooks: Mapping[str, Sequence[Named]]) -> Iterable[Problem]:
    """Tell the decoder called ``name`` ("" for none) what the handler takes; yield what does not fit."""
    for other in dict(hooks["decode"]).keys() - {name}:
        yield Problem(
            other, "has the hook 'decode', but the group's decode does not name it", f'write decode = "{other}"'
        )
    handler, function = next(iter((*hooks["process"], *hooks["process_batch"])))
    learn = dict(hooks["data_model"]).get(name)
    try:
        models = data_models(function)
    except (NameError, TypeError) as error:
        if learn is None:  # what names only exist for type checkers is no matter to anybody
            models = []
        else:
            yield Problem(handler, f"its annotations cannot be read: {error}", "import at run time what they name")
            return
    if len(models) > 1:
        each = ", ".join(f"Record[{union_of([one])}]" for one in models)
        help_ = f"write Record[{union_of(models)}]: a group's decoder is told one type"
        yield Problem(handler, f"it takes more than one type of record: {each}", help_)
        return
    model = next(iter(models), None)
    if not name:
        if model not in (None, Any, object, bytes, bytes | None):
            help_ = 'say how: decode = "msgspec", "pydantic", "json", "avro", "protobuf" or "json-schema"'
            yield Problem(handler, "takes data that nothing makes: its group has no decoder", help_)
    elif name not in dict(hooks["decode"]):
        yield Problem(name, "is no decoder: it has no hook 'decode'", "let decode name a plugin that has it")
    elif learn is not None:
        yield from _told(name, learn, model)


def _told(name: str, learn: Callable[[object], object], model: object) -> Iterable[Problem]:
    try:
        learn(model)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - user code
        yield Problem(name, str(error) if type(error) is ValueError else failure(error))


def _store_problems(spec: IdempotencySpec | None, hooks: Mapping[str, Sequence[Named]]) -> Iterable[Problem]:
    store = spec.store if spec else ""
    for other in dict(hooks["claim"]).keys() - {store}:
        text = "has the hook 'claim', but the group's idempotency.store does not name it"
        yield Problem(other, text, f'write idempotency.store = "{other}"')
    if spec is None:
        return
    missing = [hook for hook in ("claim", "done", "release") if store not in dict(hooks[hook])]
    if missing:
        text = f"is no store of keys: it has no hook {', '.join(map(repr, missing))}"
        yield Problem(store, text, "let idempotency.store name a plugin that has claim, done and release")
    try:
        key_function(spec.key, "")
    except PluginError as error:
        yield from error.problems


def key_function(key: str, group: str) -> Callable[[Record], str | None]:
    """Return what makes the key of a record of ``group``, ``None`` for one that has none; raises ``PluginError``."""
    # No group's name has a "/", so the first one ends it: no two groups share a key.
    if key == "offset":
        return lambda record: "/".join((group, *map(str, record.origin)))
    if key.startswith("header:"):
        return lambda record: _text(group, _header(record, key.partition(":")[2]))
    name = f"idempotency.key {key!r}"
    function = import_object(name, key)
    if not callable(function) or not takes(function, 1):
        raise PluginError(Problem(name, "cannot be called with a record", "write def key_of(record) -> str | None"))
    if (found := unusable(function)) is not None:
        raise PluginError(Problem(name, found[0], "write def key_of(record) -> str | None, without yield"))
    return lambda record: _text(group, function(record))


def _header(record: Record, name: str) -> bytes | None:
    """Return the last header of that name, as Kafka's own clients do."""
    return next((value for one, value in reversed(record.headers) if one == name), None)


def _text(group: str, key: object) -> str | None:
    """Return a key as stores take it: printable and not too long, and a group's own; no two keys become one."""
    if key is None:
        return None
    if not isinstance(key, str | bytes):
        message = f"a key is a str, bytes or None, not {type(key).__name__}"
        raise TypeError(message)
    if not key:  # what a producer writes that has none: its records are not the same
        return None
    raw = key if isinstance(key, bytes) else key.encode(errors="surrogatepass")
    text = raw.decode(errors="replace")
    is_itself = len(text) <= LONGEST_KEY and text.isprintable() and text.encode() == raw and not text.startswith(HASH)
    return f"{group}/{text if is_itself else _hashed(raw)}"


def _hashed(raw: bytes) -> str:
    from hashlib import sha256  # noqa: PLC0415 - only for strange keys: not on a worker's way to work

    return HASH + sha256(raw).hexdigest()
