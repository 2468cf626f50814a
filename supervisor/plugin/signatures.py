"""Look at user functions before they are called: argument names, ``async``, generators."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from supervisor.core.suggest import did_you_mean
from supervisor.plugin import hookspecs

Function = Callable[..., Any]


def _hooks() -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if hasattr(function, f"{hookspecs.PROJECT}_spec")
    }


HOOKS = _hooks()
"""Every hook's argument names."""


ASYNC_HOOKS = ("process", "process_batch")
"""The hooks that an event loop runs; the others are called where nobody awaits anything."""


def is_async(function: Function) -> bool:
    """Tell whether calling the function makes a coroutine."""
    return any(map(inspect.iscoroutinefunction, _faces(function)))


def unusable(function: Function, *, may_be_async: bool = False) -> tuple[str, str] | None:
    """Return text and help when calling the function would not run its body, nor awaiting it where that is done."""
    faces = _faces(function)
    if any(map(inspect.isgeneratorfunction, faces)) or any(map(inspect.isasyncgenfunction, faces)):
        return "it is a generator (it has a 'yield'): calling it would run nothing", "write a function without 'yield'"
    if is_async(function) and not may_be_async:
        return (
            "it is an 'async def', and nobody would await it: only handlers run on an event loop",
            f"write 'def'; {' and '.join(ASYNC_HOOKS)} may be 'async def', and then their class's open() and close()",
        )
    return None


def wrong_arguments(hook: str, function: Function) -> tuple[str, str] | None:
    """Return text and help when the function asks for arguments that the hook does not pass."""
    given = HOOKS[hook]
    wrong = []
    for parameter in _parameters(function):
        is_variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.name not in given and parameter.default is parameter.empty and not is_variadic:
            wrong.append(parameter.name)
    if not wrong:
        return None
    quoted = ", ".join(map(repr, wrong))
    help_ = did_you_mean(wrong[0], given) + f"write def {hook}(self, {', '.join(given)})".replace(", )", ")")
    return f"{hook}: the hook passes no argument {quoted}", help_


def adapted(hook: str, function: Function) -> Function:
    """Return the function in a form that is called with all of the hook's arguments in their order.

    The function itself wherever it takes them as they come: nothing is added to the hot path.
    """
    given = HOOKS[hook]
    parameters = _parameters(function)
    taken = tuple(p.name for p in parameters if p.name in given)
    positional = all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters if p.name in given)
    others = [p for p in parameters if p.name not in given]
    if taken == given and positional and tuple(p.name for p in parameters[: len(given)]) == given:
        return function
    if any(p.kind is p.VAR_KEYWORD for p in others):
        taken = given

    def call(*args: Any) -> Any:  # noqa: ANN401
        values = dict(zip(given, args, strict=True))
        return function(**{name: values[name] for name in taken})

    async def call_async(*args: Any) -> Any:  # noqa: ANN401
        return await call(*args)

    return call_async if is_async(function) else call


def takes(function: Function, count: int) -> bool:
    """Return whether the function can be called with ``count`` positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a builtin that has no signature: let it speak for itself
        return True
    return True


def _faces(function: Function) -> tuple[Function, ...]:
    """Return what may say of what kind the function is: itself, and a callable object's ``__call__``."""
    return (function,) if inspect.isroutine(function) else (function, type(function).__call__)


def _parameters(function: Function) -> Sequence[inspect.Parameter]:
    return tuple(inspect.signature(function).parameters.values())
