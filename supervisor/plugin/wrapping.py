"""Plugins around the handler: ``wrap_process`` and ``wrap_process_batch`` give functions that call it."""

from collections.abc import Mapping, Sequence

from supervisor.plugin.active import Named
from supervisor.plugin.errors import PluginError, Problem
from supervisor.plugin.importing import failure
from supervisor.plugin.signatures import Function, is_async, unusable

WRAPPED = {"wrap_process": "process", "wrap_process_batch": "process_batch"}


def wrapped(hooks: Mapping[str, Sequence[Named]]) -> dict[str, list[Named]]:
    """Return the handler's hooks with plugins around them, the last of the list outermost; raise ``PluginError``."""
    found: dict[str, list[Named]] = {}
    for wrapper, hook in WRAPPED.items():
        named = list(hooks[hook])
        for plugin, wrap in reversed(hooks[wrapper]):  # they are newest first, as all hooks are called
            named = [(name, _around(plugin, wrapper, wrap, function)) for name, function in named]
        found[hook] = named
    return found


def _around(plugin: str, hook: str, wrap: Function, function: Function) -> Function:
    may_await = is_async(function)
    try:
        made: object = wrap(function, may_await)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code
        raise PluginError(Problem(plugin, f"{hook} failed: {failure(error)}")) from error
    if made is None:
        return function
    if not callable(made) or unusable(made, may_be_async=True) or is_async(made) != may_await:
        kind = "an 'async def'" if may_await else "a plain function"
        help_ = "return None, or a function of the same kind that calls the one it was given"
        found = "an 'async def'" if callable(made) and is_async(made) else type(made).__name__
        raise PluginError(Problem(plugin, f"{hook} must return {kind}, as the handler is, not {found}", help_))
    return made
