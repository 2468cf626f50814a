from collections.abc import Callable
from typing import Any

import pytest

from supervisor.plugin import WorkerContext
from supervisor.plugin.active import Active
from supervisor.plugin.errors import PluginError, Problem, StartError
from supervisor.plugin.handler import load_handler
from supervisor.plugin.importing import extend_path
from tests.plugins.conftest import Write


@pytest.fixture(autouse=True)
def on_path(folder: object) -> None:
    extend_path([str(folder)])


def refusal(target: str) -> Problem:
    with pytest.raises(PluginError) as caught:
        load_handler(target)
    return caught.value.problems[0]


def active_of(target: str) -> Active:
    handler = load_handler(target)
    return Active({handler.hook: [("h", handler.function)]}, handler_open=handler.open, handler_close=handler.close)


def test_a_class_is_made_opened_and_closed_in_turn(write: Write, context: WorkerContext) -> None:
    name = write("""
        seen = []
        class Handler:
            def open(self): seen.append("open")
            def process(self, record): seen.append(record)
            def close(self): seen.append("close")
    """)
    active = active_of(f"{name}:Handler")
    seen = __import__(name).seen
    assert seen == []

    active.worker_started(context)
    assert active.process is not None
    active.process("record")  # type: ignore[arg-type]
    active.worker_stopping()
    active.close()

    assert seen == ["open", "record", "close"]


def test_open_may_take_the_context(write: Write, context: WorkerContext) -> None:
    name = write("""
        class Handler:
            def open(self, context): self.context = context
            def process(self, record): return self.context
    """)
    active = active_of(f"{name}:Handler")

    active.worker_started(context)

    assert active.process is not None
    assert active.process("record") is context  # type: ignore[arg-type]


@pytest.mark.parametrize("body", ["raise OSError('no route')", "raise SystemExit('no route')"])
def test_an_open_that_fails_is_a_start_error_and_nothing_is_closed(
    write: Write, context: WorkerContext, body: str
) -> None:
    name = write(f"""
        class Handler:
            closed = False
            def open(self): {body}
            def process(self, record): ...
            def close(self): Handler.closed = True
    """)
    active = active_of(f"{name}:Handler")

    with pytest.raises(StartError, match=r"handler: open\(\): .*no route"):
        active.worker_started(context)
    active.worker_stopping()

    assert not active.opened
    assert not __import__(name).Handler.closed


def test_an_object_with_process_is_a_handler(write: Write) -> None:
    name = write("""
        class Handler:
            def __init__(self, n): self.n = n
            def process(self, record): return self.n
        seven = Handler(7)
    """)

    assert load_handler(f"{name}:seven").function("record") == 7


def test_a_callable_object_is_a_handler(write: Write) -> None:
    name = write("""
        from functools import partial
        def work(n, record): return n
        seven = partial(work, 7)
    """)

    assert load_handler(f"{name}:seven").function("record") == 7


def test_process_batch_takes_batches(write: Write) -> None:
    name = write("""
        def process_batch(records): ...
        class Batches:
            def process_batch(self, records): ...
    """)

    assert load_handler(f"{name}:process_batch").hook == "process_batch"
    assert load_handler(f"{name}:Batches").hook == "process_batch"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("async def handler(record): yield", "it is a generator (it has a 'yield'): calling it would run nothing"),
        ("def handler(record): yield", "it is a generator (it has a 'yield'): calling it would run nothing"),
        ("def handler(): ...", "process cannot be called with one argument: it is process()"),
        ("def handler(a, b): ...", "process cannot be called with one argument: it is process(a, b)"),
        ("class handler: ...", "is a handler and has no method 'process'"),
        (
            "class handler:\n  async def process(self): ...",
            "process cannot be called with one argument: it is process()",
        ),
        ("class handler:\n  def process(self): ...", "process cannot be called with one argument: it is process()"),
        ("class handler:\n  def __init__(self, a): ...", "its __init__ wants arguments: missing a required argument"),
        ("class handler:\n  def __init__(self): 1 / 0\n  def process(self, record): ...", "ZeroDivisionError"),
        ("class handler:\n  def process(self, r): ...\n  def process_batch(self, r): ...", "has both process and"),
        ("class handler:\n  def process(self, r): ...\n  def open(self, a, b): ...", "open(a, b)"),
        ("class handler:\n  def process(self, r): ...\n  def close(self, a): ...", "close(a)"),
        ("handler = 7", "is a int and has no method 'process'"),
    ],
)
def test_what_cannot_be_called_with_a_record_is_refused(write: Write, source: str, text: str) -> None:
    name = write(source)

    found = refusal(f"{name}:handler")

    assert text in found.text
    assert found.plugin == f"handler '{name}:handler'"


@pytest.mark.parametrize(
    "source",
    [
        "async def handler(record): ...",
        "class handler:\n  async def process(self, record): ...",
        "class handler:\n  async def process_batch(self, records): ...",
        "class handler:\n  async def __call__(self, record): ...",
        "from functools import partial\nasync def work(n, record): ...\nhandler = partial(work, 7)",
        "class handler:\n  @staticmethod\n  async def process(record): ...",
    ],
)
def test_an_async_handler_is_known_as_one(write: Write, source: str) -> None:
    assert active_of(f"{write(source)}:handler").is_async


def test_an_ordinary_handler_is_not_taken_for_async(write: Write) -> None:
    assert not active_of(f"{write('def handler(record): ...')}:handler").is_async


@pytest.mark.parametrize("method", ["open", "close"])
def test_open_and_close_may_be_async_only_where_the_handler_is(write: Write, method: str) -> None:
    name = write(f"""
        class Async:
            async def process(self, record): ...
            async def {method}(self): ...
        class Sync:
            def process(self, record): ...
            async def {method}(self): ...
    """)

    assert load_handler(f"{name}:Async").hook == "process"
    found = refusal(f"{name}:Sync")
    assert found.text == "it is an 'async def', and nobody would await it: only handlers run on an event loop"
    assert found.plugin == f"handler '{name}:Sync' {method}()"


def test_open_and_close_are_called_through_the_runner_that_was_given(write: Write, context: WorkerContext) -> None:
    name = write("""
        class Handler:
            async def open(self, context): ...
            async def process(self, record): ...
            async def close(self): ...
    """)
    active = active_of(f"{name}:Handler")
    called: list[object] = []

    def run(function: Callable[..., Any], *args: object) -> object:
        coroutine = function(*args)
        called.append(coroutine.__name__)
        coroutine.close()
        return None

    active.run_handler_on(run)
    active.worker_started(context)
    active.worker_stopping()

    assert called == ["open", "close"]


def test_a_module_is_no_handler_and_its_functions_are_named(write: Write) -> None:
    name = write("def work(record): ...")

    assert refusal(name) == Problem(f"handler {name!r}", "is a module", f"write one of {name}:work")


def test_hooks_around_the_life_of_a_worker_fail_on_their_own(
    context: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def bad(*_: object) -> None:
        raise SystemExit(1)

    def good(*_: object) -> None:
        seen.append("good")

    hooks = {hook: [("bad", bad), ("good", good)] for hook in ("partitions_assigned", "partitions_revoked")}
    active = Active({**hooks, "worker_stopping": [("bad", bad), ("good", good)]})

    active.worker_started(context)
    active.partitions_assigned([])
    active.partitions_revoked([], lost=False)
    active.worker_stopping()

    assert seen == ["good"] * 3
    assert [record.getMessage() for record in caplog.records] == ["plugin.failed"] * 3


def test_what_was_never_started_is_not_stopped() -> None:
    seen: list[str] = []
    active = Active({"worker_stopping": [("p", lambda: seen.append("stopping"))]})

    active.worker_stopping()

    assert seen == []
