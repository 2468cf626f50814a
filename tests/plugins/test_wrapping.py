import asyncio
from pathlib import Path

import pytest

from supervisor.core.spec import PluginSpec, PluginsSpec
from supervisor.plugin.active import Active
from supervisor.plugin.errors import PluginError
from supervisor.plugin.loader import load
from supervisor.plugin.types import DeadLetter, Record
from tests.plugins.conftest import FakeMessage, Write, a_failure

HANDLER = """
called = []

def process(record):
    called.append("handler")
    return None

async def process_async(record):
    called.append("handler")

def process_batch(records):
    called.append(f"batch of {len(records)}")

class Outer:
    @hookimpl
    def wrap_process(self, process):
        def call(record):
            called.append("outer")
            return process(record)
        return call

class Inner:
    @hookimpl
    def wrap_process(self, process, is_async):
        assert not is_async
        def call(record):
            called.append("inner")
            return process(record)
        return call

class Both:
    @hookimpl
    def wrap_process(self, process, is_async):
        assert is_async
        async def call(record):
            called.append("around")
            await process(record)
        return call
    @hookimpl
    def wrap_process_batch(self, process):
        def call(records):
            called.append("around")
            return process(records)
        return call

class Leaves:
    @hookimpl
    def wrap_process(self, process):
        return None

class Nothing:
    @hookimpl
    def wrap_process(self, process):
        return {}

class Wrong:
    @hookimpl
    def wrap_process(self, process):
        async def call(record):
            pass
        return call

class Raises:
    @hookimpl
    def wrap_process(self, process):
        raise RuntimeError("no")

class Watches:
    @hookimpl
    def failure_decided(self, failure, decision):
        called.append(type(decision).__name__)
        raise RuntimeError("broken by 4111 1111")
"""


def loaded(folder: Path, module: str, *plugins: str, handler: str = "process") -> Active:
    spec = PluginsSpec(tuple(PluginSpec(f"{module}:{name}") for name in plugins), (str(folder),))
    return load(spec, f"{module}:{handler}", group="orders")


def calls(module: str) -> list[str]:
    namespace: dict[str, list[str]] = {}
    exec(f"from {module} import called", namespace)  # noqa: S102 - a module of this test's
    return namespace["called"]


def test_plugins_are_around_the_handler_the_first_of_the_list_innermost(folder: Path, write: Write) -> None:
    module = write(HANDLER)
    active = loaded(folder, module, "Inner", "Leaves", "Outer")

    assert active.process is not None
    active.process(Record(FakeMessage()))

    assert calls(module) == ["outer", "inner", "handler"]


def test_an_async_handler_has_an_async_wrapper(folder: Path, write: Write) -> None:
    module = write(HANDLER)
    active = loaded(folder, module, "Both", handler="process_async")

    assert active.is_async
    assert active.process is not None
    asyncio.run(active.process(Record(FakeMessage())))  # type: ignore[arg-type]
    assert calls(module) == ["around", "handler"]


def test_a_batch_handler_is_wrapped_by_its_own_hook(folder: Path, write: Write) -> None:
    module = write(HANDLER)
    active = loaded(folder, module, "Both", handler="process_batch")

    assert active.process_batch is not None
    active.process_batch([Record(FakeMessage())] * 2)
    assert calls(module) == ["around", "batch of 2"]


def test_p9_a_wrapper_of_another_kind_is_refused(folder: Path, write: Write) -> None:
    with pytest.raises(PluginError) as caught:
        loaded(folder, write(HANDLER), "Wrong")

    (problem,) = caught.value.problems
    assert problem.text == "wrap_process must return a plain function, as the handler is, not an 'async def'"


def test_p9_a_wrapper_that_is_no_function_is_refused_by_its_type(folder: Path, write: Write) -> None:
    with pytest.raises(PluginError) as caught:
        loaded(folder, write(HANDLER), "Nothing")

    (problem,) = caught.value.problems
    assert problem.text == "wrap_process must return a plain function, as the handler is, not dict"


def test_p9_a_hook_that_raises_is_told_with_its_reason(folder: Path, write: Write) -> None:
    with pytest.raises(PluginError, match="wrap_process failed: RuntimeError: no"):
        loaded(folder, write(HANDLER), "Raises")


def test_a_decision_is_told_and_a_plugin_that_breaks_on_it_changes_nothing(folder: Path, write: Write) -> None:
    module = write(HANDLER)
    active = loaded(folder, module, "Watches")

    active.failure_decided(a_failure(ValueError()), DeadLetter())

    assert calls(module) == ["DeadLetter"]


def test_p10_what_a_plugin_says_that_breaks_on_a_decision_is_not_logged(
    folder: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    active = loaded(folder, write(HANDLER), "Watches")

    active.failure_decided(a_failure(ValueError()), DeadLetter())

    (record,) = caplog.records
    assert record.message == "plugin.failed"
    assert record.exc_info is None
    assert "4111" not in str(record.__dict__["fields"])
