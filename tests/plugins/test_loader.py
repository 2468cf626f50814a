import asyncio
import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.spec import IdempotencySpec, PluginSpec, PluginsSpec
from supervisor.plugin import Record, WorkerContext
from supervisor.plugin.active import Active
from supervisor.plugin.errors import PluginError, Problem
from supervisor.plugin.front import Front, key_function
from supervisor.plugin.importing import exception_types
from supervisor.plugin.loader import implemented, installed, load
from supervisor.plugin.signatures import HOOKS
from tests.plugins.conftest import FakeMessage, Write, a_failure

Loaded = Callable[..., Active]


@pytest.fixture
def loaded(folder: Path) -> Loaded:
    """Load plugins (targets, or target and options) of ``folder`` for the group "orders"."""

    def go(*plugins: str | tuple[str, dict[str, Any]], handler: str = "", group: str = "orders", **more: Any) -> Active:
        specs = tuple(PluginSpec(one) if isinstance(one, str) else PluginSpec(*one) for one in plugins)
        return load(PluginsSpec(specs, (str(folder),)), handler, group=group, **more)

    return go


def problems(loaded: Loaded, *plugins: str | tuple[str, dict[str, Any]], **more: Any) -> tuple[Problem, ...]:
    with pytest.raises(PluginError) as caught:
        loaded(*plugins, **more)
    return caught.value.problems


def problem(loaded: Loaded, *plugins: str | tuple[str, dict[str, Any]], **more: Any) -> Problem:
    (only,) = problems(loaded, *plugins, **more)
    return only


def test_a_function_of_a_module_is_the_handler_itself(loaded: Loaded, write: Write) -> None:
    name = write("def process(message): return message")

    active = loaded(handler=f"{name}:process")

    assert active.process is not None
    assert active.process.__module__ == name
    assert active.implementations == {"process": (f"handler '{name}:process'",)}


def test_first_party_plugins_load_by_their_names(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    active = loaded("dlq_kafka", "dlq_file", "retry_exponential", handler=f"{name}:process", sinks=["dlq_file"])

    assert len(active.retry_decision) == 1
    assert callable(active.sink("dlq_kafka"))
    assert {"alert_log", "alert_webhook"} <= set(installed())


def test_installed_is_not_active(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    active = loaded(handler=f"{name}:process")

    assert active.retry_decision == ()
    assert active.alerts == ()


def test_a_file_of_the_plugins_folder_is_a_plugin_by_its_bare_name(loaded: Loaded, write: Write) -> None:
    name = write("""
        @hookimpl
        def process(record): ...
    """)

    active = loaded(name)

    assert active.implementations == {"process": (name,)}


def test_an_instance_can_be_a_plugin(loaded: Loaded, write: Write) -> None:
    name = write("""
        class Policy:
            def __init__(self, after): self.after = after
            @hookimpl
            def retry_decision(self, failure): return Retry(self.after)
        slow = Policy(60.0)
        def process(record): ...
    """)

    active = loaded(f"{name}:slow", handler=f"{name}:process")

    assert active.retry_decision[0](a_failure(ValueError())) is not None


def test_policies_are_asked_newest_first_with_tryfirst_before_and_trylast_after(loaded: Loaded, write: Write) -> None:
    name = write("""
        def process(record): ...
        class A:
            @hookimpl
            def retry_decision(self, failure): return Drop("a")
        class B:
            @hookimpl
            def retry_decision(self, failure): return Drop("b")
        class Last:
            @hookimpl(trylast=True)
            def retry_decision(self, failure): return Drop("last")
        class First:
            @hookimpl(tryfirst=True)
            def retry_decision(self, failure): return Drop("first")
    """)

    active = loaded(*(f"{name}:{one}" for one in ("First", "A", "B", "Last")), handler=f"{name}:process")

    reasons = [getattr(policy(a_failure(ValueError())), "reason", None) for policy in active.retry_decision]
    assert reasons == ["first", "b", "a", "last"]


def test_a_hook_may_take_fewer_arguments_and_in_any_order(loaded: Loaded, write: Write) -> None:
    name = write("""
        seen = []
        def process(record): ...
        class P:
            @hookimpl
            def partitions_revoked(self, lost, partitions): seen.append((lost, partitions))
            @hookimpl
            def partitions_assigned(self): seen.append("assigned")
            @hookimpl
            def retry_decision(self, *, failure): return Drop(str(failure.attempt))
    """)
    active = loaded(f"{name}:P", handler=f"{name}:process")

    active.partitions_assigned([("t", 0)])
    active.partitions_revoked([("t", 1)], lost=True)

    seen = __import__(name).seen
    assert seen == ["assigned", (True, [("t", 1)])]
    assert active.retry_decision[0](a_failure(ValueError(), 4)) is not None


def test_a_hook_that_takes_its_arguments_as_they_come_is_not_wrapped(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            @hookimpl
            def process(self, record): return self
    """)

    active = loaded(f"{name}:P")

    assert active.process is not None
    assert getattr(active.process, "__self__", None) is active.process(Record(FakeMessage()))


def test_specname_marks_a_method_of_another_name(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            @hookimpl(specname="process")
            def work(self, record): ...
    """)

    assert loaded(f"{name}:P").process is not None


def test_every_problem_is_reported_at_once(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            @hookimpl
            def retry_decisoin(self, failure): ...
            @hookimpl
            def alert(self, evnt): ...
    """)

    found = problems(loaded, "dlq_flie", f"{name}:P", handler=f"{name}:nothing")

    assert [one.plugin for one in found] == ["dlq_flie", f"{name}:P", f"{name}:P", f"handler '{name}:nothing'"]


def test_an_unknown_name_says_what_is_installed(loaded: Loaded) -> None:
    found = problem(loaded, "dlq_flie")

    assert found.text == "is not an installed plugin, nor a module"
    assert found.help.startswith("did you mean 'dlq_file'? installed: alert_apprise, ")


def test_an_unknown_name_close_to_a_file_of_the_plugins_folder_says_which_was_perhaps_meant(
    loaded: Loaded, folder: Path
) -> None:
    (folder / "patient_policy_x.py").write_text("")

    assert problem(loaded, "patient_polcy_x").help.startswith("did you mean 'patient_policy_x'? installed: ")


def test_an_unknown_hook_names_the_hooks_there_are(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            @hookimpl
            def retry_decisoin(self, failure): ...
    """)

    found = problem(loaded, f"{name}:P")

    assert found.text == "'retry_decisoin' is marked but is no hook"
    assert "did you mean 'retry_decision'? " in found.help


def test_a_wrong_argument_names_the_right_ones(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            @hookimpl
            def partitions_revoked(self, partition, lost): ...
    """)

    found = problem(loaded, f"{name}:P")

    assert found.text == "partitions_revoked: the hook passes no argument 'partition'"
    assert found.help == "did you mean 'partitions'? write def partitions_revoked(self, partitions, lost)"


@pytest.mark.parametrize("arguments", ["wrapper=True", "hookwrapper=True"])
def test_wrappers_are_refused(loaded: Loaded, write: Write, arguments: str) -> None:
    name = write(f"""
        class P:
            @hookimpl({arguments})
            def process(self, record):
                yield
    """)

    assert "wrappers are not supported" in problem(loaded, f"{name}:P").text


def test_a_method_with_a_hooks_name_but_no_mark_is_pointed_out(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            def retry_decision(self, failure): ...
    """)

    assert problem(loaded, f"{name}:P") == Problem(
        f"{name}:P", "retry_decision is not marked as a hook", "put @hookimpl above it"
    )


def test_a_module_without_hooks_is_no_plugin(loaded: Loaded) -> None:
    assert problem(loaded, "json").text == "implements no hook"


def test_a_missing_module_is_told_from_a_broken_one(loaded: Loaded, write: Write) -> None:
    broken = write("import a_library_that_is_not_there")

    missing, fails = problems(loaded, "not_there:P", f"{broken}:P")

    assert missing.text == "there is no module 'not_there'"
    assert f"importing '{broken}' failed: ModuleNotFoundError" in fails.text
    assert f"{broken}.py:3" in fails.text
    assert "install 'a_library_that_is_not_there'" in fails.help


def test_a_missing_submodule_names_its_neighbours(loaded: Loaded, folder: Path) -> None:
    (folder / "shop_x").mkdir()
    (folder / "shop_x" / "orders.py").write_text("")

    found = problem(loaded, handler="shop_x.ordes:process")

    assert found.text == "there is no module 'shop_x.ordes'"
    assert found.help == "did you mean 'orders'? modules of 'shop_x': orders"


def test_a_file_name_in_the_place_of_a_module_is_told_what_to_write(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    assert problem(loaded, handler=f"{name}.py:process").help == f"write the module's name, not its file's: {name!r}"


def test_a_missing_attribute_names_its_neighbours(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    found = problem(loaded, handler=f"{name}:proces")

    assert found.text == f"'{name}' has no attribute 'proces'"
    assert found.help == "did you mean 'process'? it has: process"


@pytest.mark.parametrize("line", ["raise SystemExit(3)", "1 / 0", "def broken(:"])
def test_a_module_that_ends_badly_is_a_problem_whatever_it_raises(loaded: Loaded, write: Write, line: str) -> None:
    name = write(line)

    assert f"importing '{name}' failed: " in problem(loaded, f"{name}:P").text


def test_a_constructor_that_fails_is_a_problem(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            def __init__(self): raise SystemExit(1)
            @hookimpl
            def process(self, record): ...
    """)

    assert "P() failed: SystemExit: 1" in problem(loaded, f"{name}:P").text


def test_options_for_a_plugin_without_options_are_refused(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            @hookimpl
            def process(self, record): ...
    """)

    for target in (f"{name}:P", name):
        assert problem(loaded, (target, {"url": "x"})).text == "takes no options, but has some in the config"


def test_options_reach_the_plugin(loaded: Loaded, write: Write) -> None:
    name = write("""
        class P:
            @dataclass
            class Options:
                after: Seconds = 1.0
            def __init__(self, options): self.options = options
            @hookimpl
            def retry_decision(self, failure): return Retry(self.options.after)
        def process(record): ...
    """)

    active = loaded((f"{name}:P", {"after": "250ms"}), handler=f"{name}:process")

    assert getattr(active.retry_decision[0](a_failure(ValueError())), "after", None) == 0.25


def test_a_group_without_a_handler_is_refused(loaded: Loaded) -> None:
    found = problem(loaded, "dlq_file")

    assert found.plugin == "groups.orders"
    assert "has neither a handler nor a plugin" in found.text


def test_two_handlers_are_refused_by_name(loaded: Loaded, write: Write) -> None:
    name = write("""
        def process(record): ...
        class Batch:
            @hookimpl
            def process_batch(self, records): ...
    """)

    found = problem(loaded, f"{name}:Batch", handler=f"{name}:process")

    text = f"has more than one handler: process of handler '{name}:process', process_batch of {name}:Batch"
    assert found.text == text


def test_a_handler_that_is_marked_as_a_hook_besides_counts_once(loaded: Loaded, write: Write) -> None:
    name = write("""
        class Handler:
            @hookimpl
            def process(self, record): ...
            @hookimpl
            def retry_decision(self, failure): return Drop("no")
    """)

    active = loaded(handler=f"{name}:Handler")

    assert active.process is not None
    assert len(active.retry_decision) == 1


def test_a_sink_must_have_the_hook(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    found = problem(loaded, "retry_exponential", "dlq_file", handler=f"{name}:process", sinks=["retry_exponential"])

    assert found.text == "is no dead-letter sink: it has no hook 'send_dead_letter'"
    assert found.help == "sinks loaded: dlq_file"


def test_plugins_are_refused_where_nothing_would_call_them(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    assert problem(loaded, "alert_log", handler=f"{name}:process").help == "list it in supervisor.alerts"
    assert "has no hook 'alert'" in problem(loaded, "dlq_file", group="").text
    assert [name for name, _ in loaded("alert_log", group="").alerts] == ["alert_log"]


@pytest.mark.parametrize("hook", ["process", "process_batch"])
@pytest.mark.parametrize("arguments", ["self, {}", "self, *, {}", "self, **given"])
def test_the_hooks_that_work_records_may_be_async(loaded: Loaded, write: Write, hook: str, arguments: str) -> None:
    argument = {"process": "record", "process_batch": "records"}[hook]
    name = write(f"""
        class P:
            @hookimpl
            async def {hook}({arguments.format(argument)}): ...
    """)

    active = loaded(f"{name}:P")

    assert active.is_async
    function: Any = active.process or active.process_batch
    assert asyncio.run(function("what comes")) is None


@pytest.mark.parametrize("hook", sorted(set(HOOKS) - {"process", "process_batch"}))
def test_other_hooks_are_refused_when_they_are_async(loaded: Loaded, write: Write, hook: str) -> None:
    name = write(f"""
        class P:
            @hookimpl
            async def {hook}(self): ...
    """)

    found = problem(loaded, f"{name}:P")

    assert found.text == f"{hook}: it is an 'async def', and nobody would await it: only handlers run on an event loop"
    assert found.help == (
        "write 'def'; process and process_batch may be 'async def', and then their class's open() and close()"
    )


def test_the_same_plugin_listed_twice_is_one(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    assert len(loaded("retry_exponential", "retry_exponential", handler=f"{name}:process").retry_decision) == 1


def test_hooks_of_a_plugin_can_be_listed_without_making_it() -> None:
    assert implemented(installed()["dlq_file"].load()) == ("send_dead_letter", "worker_started", "worker_stopping")


def test_exception_classes_are_found_and_what_is_none_is_named() -> None:
    assert exception_types(["ValueError", "json:JSONDecodeError"])[0] is ValueError

    with pytest.raises(PluginError) as caught:
        exception_types(["json:loads", "json:Nothing"])

    assert [one.plugin for one in caught.value.problems] == [
        "retry.permanent 'json:loads'",
        "retry.permanent 'json:Nothing'",
    ]


# --- idempotency -------------------------------------------------------------------------------------------


def once(key: str = "offset", store: str = "idempotency_sqlite") -> Front:
    return Front(idempotency=IdempotencySpec(store, key, ttl=60.0, lease=5.0))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("offset", "orders/orders/1/812"),
        ("header:order-id", "orders/7"),
        ("header:none", None),
        ("header:long", "orders/sha256:"),
        ("header:odd", "orders/sha256:"),
    ],
)
def test_keys_are_made_of_offset_or_header(key: str, expected: str | None) -> None:
    message = FakeMessage()
    headers = [("order-id", b"6"), ("order-id", b"7"), ("long", b"x" * 300), ("odd", b"\0")]
    message.headers = lambda: headers  # type: ignore[method-assign, assignment]

    made = key_function(key, "orders")(Record(message))

    assert made == expected if expected is None else (made or "").startswith(expected)


def test_keys_are_made_by_functions_and_must_be_text(write: Write, folder: Path) -> None:
    sys.path.insert(0, str(folder))
    name = write("def key_of(record): return record.value\ndef odd(record): return 7\ndef none(record): return None")

    assert key_function(f"{name}:key_of", "g")(Record(FakeMessage())) == "g/v"
    assert key_function(f"{name}:none", "g")(Record(FakeMessage())) is None
    with pytest.raises(TypeError, match="not int"):
        key_function(f"{name}:odd", "g")(Record(FakeMessage()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"\xff", b"\\xff"),
        (b"x" * 300, b"sha256:" + hashlib.sha256(b"x" * 300).hexdigest().encode()),
        (b"\0", b"sha256:" + hashlib.sha256(b"\0").hexdigest().encode()),
    ],
)
def test_p1_what_is_not_the_same_has_not_the_same_key(write: Write, folder: Path, one: bytes, other: bytes) -> None:
    sys.path.insert(0, str(folder))
    key_of = key_function(f"{write('def key_of(record): return record.value')}:key_of", "g")

    def made(value: bytes) -> str | None:
        message = FakeMessage()
        message.value = lambda: value  # type: ignore[method-assign]
        return key_of(Record(message))

    assert made(one) != made(other)


def test_p1_records_with_an_empty_key_are_not_duplicates_of_each_other(write: Write, folder: Path) -> None:
    sys.path.insert(0, str(folder))
    name = write("def empty(record): return ''")
    message = FakeMessage()
    message.headers = lambda: [("order-id", b"")]  # type: ignore[method-assign, assignment]

    assert key_function("header:order-id", "g")(Record(message)) is None
    assert key_function(f"{name}:empty", "g")(Record(message)) is None


@pytest.mark.parametrize("source", ["async def key_of(record): return 'k'", "def key_of(record): yield 'k'"])
def test_a_key_function_that_would_not_run_is_told_before_records_fail(
    loaded: Loaded, write: Write, source: str
) -> None:
    name = write(f"def process(record): ...\n{source}")

    found = problem(loaded, "idempotency_sqlite", handler=f"{name}:process", front=once(f"{name}:key_of"))

    assert found.plugin == f"idempotency.key '{name}:key_of'"
    assert "async def" in found.text or "generator" in found.text


def test_a_store_that_has_no_hooks_of_one_is_refused(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    found = problem(loaded, "dlq_file", handler=f"{name}:process", front=once(store="dlq_file"))

    assert found.text == "is no store of keys: it has no hook 'claim', 'done', 'release'"


def test_a_store_that_nothing_names_is_refused(loaded: Loaded, write: Write) -> None:
    name = write("def process(record): ...")

    found = problem(loaded, "idempotency_sqlite", handler=f"{name}:process")

    assert found.help == 'write idempotency.store = "idempotency_sqlite"'


@pytest.mark.parametrize(
    ("key", "text"),
    [("no_such_module:f", "there is no module 'no_such_module'"), ("os:sep", "cannot be called with a record")],
)
def test_a_key_function_that_is_none_is_told(loaded: Loaded, write: Write, key: str, text: str) -> None:
    name = write("def process(record): ...")

    found = problem(loaded, "idempotency_sqlite", handler=f"{name}:process", front=once(key))

    assert text in found.text


@pytest.mark.parametrize(("store", "module"), [("redis", "redis"), ("postgresql", "psycopg")])
def test_a_store_whose_extra_is_missing_says_what_to_install(
    loaded: Loaded, write: Write, monkeypatch: pytest.MonkeyPatch, store: str, module: str
) -> None:
    monkeypatch.delitem(sys.modules, f"supervisor_plugins.idempotency_{store}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    name = write("def process(record): ...")
    plugin = f"idempotency_{store}"

    found = problem(loaded, plugin, handler=f"{name}:process", front=once(store=plugin))

    assert found.help == f"pip install 'kafka-supervisor[{store}]'"


def test_decoder_and_store_stand_in_front_of_the_handler_in_this_order(
    loaded: Loaded, write: Write, context: WorkerContext
) -> None:
    name = write("seen = []\ndef process(record): seen.append(record.data)")
    both = replace(once(), decoder="decode_text")

    active = loaded("idempotency_sqlite", "decode_text", handler=f"{name}:process", front=both)
    active.worker_started(context)
    assert active.process is not None
    for _ in range(3):
        active.process(Record(FakeMessage()))
    active.worker_stopping()

    assert sys.modules[name].seen == ["v"]
    assert active.guard is not None
    assert active.guard.duplicates == 2
