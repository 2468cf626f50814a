"""What docs/plugins.md teaches is there, is complete, and works."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from supervisor.plugin import hookspecs
from supervisor.plugin.loader import implemented, installed
from supervisor.plugin.options import build_options
from supervisor.plugin.signatures import HOOKS, wrong_arguments

DOC = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_arguments(hook: str) -> None:
    headings = re.findall(r"^### (.*)$", DOC, re.MULTILINE)
    documented = [signature for heading in headings for signature in re.findall(r"`(.*?)`", heading)]

    assert f"{hook}({', '.join(HOOKS[hook])})" in documented


def test_no_hook_is_documented_that_does_not_exist() -> None:
    signatures = [
        name for heading in re.findall(r"^### (.*)$", DOC, re.MULTILINE) for name in re.findall(r"`(\w+)\(", heading)
    ]

    assert sorted(signatures) == sorted(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hookspec_says_where_it_runs(hook: str) -> None:
    text = inspect.getdoc(getattr(hookspecs, hook)) or ""

    assert "rocess, " in text or hook == "process_batch", text


def test_every_plugin_that_comes_with_it_is_documented_with_its_hook_and_options() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*) \|$", DOC, re.MULTILINE)

    assert sorted(name for name, _, _ in rows) == sorted(
        name for name, point in installed().items() if point.value.startswith("supervisor_plugins.")
    )
    for name, hook, about in rows:
        plugin = installed()[name].load()
        options = getattr(getattr(plugin, "Options", None), "__dataclass_fields__", {})
        assert hook in implemented(plugin)
        assert [option for option in options if f"`{option}`" not in about] == []


@pytest.mark.parametrize("block", blocks("python"))
def test_every_python_block_runs_and_its_plugins_are_in_order(block: str) -> None:
    names: dict[str, Any] = {"__name__": "documented"}

    exec(compile(block, "docs/plugins.md", "exec"), names)  # noqa: S102 - our own documentation

    for one in [value for value in names.values() if getattr(value, "__module__", "") == "documented"]:
        for hook in implemented(one):
            assert wrong_arguments(hook, getattr(one(*options_of(one)), hook)) is None


def options_of(plugin: type) -> tuple[object, ...]:
    options = getattr(plugin, "Options", None)
    return (build_options("documented", options, {}),) if options else ()
