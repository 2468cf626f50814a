"""``handler = "shop.orders:process"``: a function, a class, or an object with ``process``."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from supervisor.core.suggest import did_you_mean
from supervisor.plugin.errors import PluginError, Problem
from supervisor.plugin.importing import failure, import_object, public_names
from supervisor.plugin.signatures import is_async, takes, unusable
from supervisor.plugin.types import WorkerContext

_METHODS = ("process", "process_batch")


@dataclass(frozen=True, slots=True)
class Handler:
    """A group's handler. ``hook`` says whether ``function`` takes a record or a batch; ``owner`` may have hooks.

    ``open`` and ``close`` may make coroutines when ``function`` does.
    """

    target: str
    hook: str
    function: Callable[[Any], object]
    owner: object | None
    open: Callable[[WorkerContext], object] | None
    close: Callable[[], object] | None


def load_handler(target: str) -> Handler:
    """Import and check a handler; a class is instantiated, its ``open()`` is not called. Raises ``PluginError``."""
    name = f"handler {target!r}"
    found = import_object(name, target)
    if isinstance(found, ModuleType):
        functions = [f"{found.__name__}:{candidate}" for candidate in public_names(found)]
        hint = f"write one of {', '.join(functions)}" if functions else "write 'module:function'"
        raise PluginError(Problem(name, "is a module", hint))
    if inspect.isclass(found):
        found = _instance(name, found)
    elif inspect.isroutine(found):
        hook = "process_batch" if target.rpartition(":")[2].endswith("process_batch") else "process"
        return Handler(target, hook, _checked(name, hook, found), owner=None, open=None, close=None)
    hook = _method(name, found)
    function = _checked(name, hook, getattr(found, hook) if hasattr(found, hook) else found)
    may_be_async = is_async(function)
    return Handler(
        target,
        hook,
        function,
        owner=found,
        open=_open(name, found, may_be_async=may_be_async),
        close=_close(name, found, may_be_async=may_be_async),
    )


def _instance(name: str, cls: type) -> object:
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        help_ = "a handler's class is made without arguments: read settings in open(), or make it a plugin with Options"
        raise PluginError(Problem(name, f"its __init__ wants arguments: {error}", help_)) from error
    except ValueError:  # a class whose signature cannot be read: try it
        pass
    try:
        made: object = cls()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code
        raise PluginError(Problem(name, f"{cls.__qualname__}() failed: {failure(error)}")) from error
    return made


def _method(name: str, found: object) -> str:
    methods = [method for method in _METHODS if callable(getattr(found, method, None))]
    if len(methods) > 1:
        help_ = "keep one: process(record) or process_batch(records)"
        raise PluginError(Problem(name, "has both process and process_batch", help_))
    if methods:
        return methods[0]
    if callable(found):
        return "process"
    names = public_names(found)
    help_ = did_you_mean("process", names) + "write a function, or a class with process(self, record)"
    raise PluginError(Problem(name, f"is a {type(found).__qualname__} and has no method 'process'", help_))


def _checked(name: str, hook: str, function: Callable[[Any], object]) -> Callable[[Any], object]:
    if bad := unusable(function, may_be_async=True):
        raise PluginError(Problem(name, *bad))
    if not takes(function, 1):
        argument = "record" if hook == "process" else "records"
        text = f"{hook} cannot be called with one argument: it is {hook}{_signature(function)}"
        raise PluginError(Problem(name, text, f"write def {hook}({argument}), or (self, {argument}) in a class"))
    return function


def _open(name: str, found: object, *, may_be_async: bool) -> Callable[[WorkerContext], object] | None:
    function: Callable[..., object] | None = getattr(found, "open", None)
    if function is None or not callable(function):
        return None
    if bad := unusable(function, may_be_async=may_be_async):
        raise PluginError(Problem(f"{name} open()", *bad))
    if takes(function, 0):
        return lambda _context: function()
    if takes(function, 1):
        return function
    raise PluginError(Problem(name, f"open{_signature(function)}", "write def open(self) or def open(self, context)"))


def _close(name: str, found: object, *, may_be_async: bool) -> Callable[[], object] | None:
    function: Callable[..., object] | None = getattr(found, "close", None)
    if function is None or not callable(function):
        return None
    if bad := unusable(function, may_be_async=may_be_async):
        raise PluginError(Problem(f"{name} close()", *bad))
    if not takes(function, 0):
        raise PluginError(Problem(name, f"close{_signature(function)}", "write def close(self)"))
    return function


def _signature(function: Callable[..., object]) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "(...)"
