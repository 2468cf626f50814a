"""Find, make and check the plugins that a config lists, and resolve their hooks. Installed is not active."""

import importlib.util
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from supervisor.core.spec import PluginSpec, PluginsSpec
from supervisor.core.suggest import did_you_mean
from supervisor.plugin import hookspecs
from supervisor.plugin.active import Active, Named
from supervisor.plugin.errors import PluginError, Problem
from supervisor.plugin.front import NOTHING, Front, front_problems, put_in_front
from supervisor.plugin.handler import Handler, load_handler
from supervisor.plugin.importing import announce, extend_path, failure, import_object, top_modules
from supervisor.plugin.options import build_options, table_help
from supervisor.plugin.signatures import ASYNC_HOOKS, HOOKS, adapted, unusable, wrong_arguments
from supervisor.plugin.wrapping import wrapped

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# importlib.metadata is imported where it is needed: with all that it pulls in it delays every start of a worker.

ENTRY_POINTS = "supervisor"
_OURS = {
    "retry_exponential": "supervisor_plugins.retry_exponential:RetryExponential",
    "dlq_kafka": "supervisor_plugins.dlq_kafka:KafkaSink",
    "dlq_file": "supervisor_plugins.dlq_file:FileSink",
    "dlq_sqlite": "supervisor_plugins.dlq_sqlite:SqliteSink",
    "decode_text": "supervisor_plugins.decode_text:TextDecoder",
    "decode_json": "supervisor_plugins.decode_json:JsonDecoder",
    "decode_msgspec": "supervisor_plugins.decode_msgspec:MsgspecDecoder",
    "decode_pydantic": "supervisor_plugins.decode_pydantic:PydanticDecoder",
    "decode_avro": "supervisor_plugins.decode_avro:AvroDecoder",
    "decode_protobuf": "supervisor_plugins.decode_protobuf:ProtobufDecoder",
    "decode_json_schema": "supervisor_plugins.decode_json_schema:JsonSchemaDecoder",
    "tracing": "supervisor_plugins.tracing:Tracing",
    "idempotency_sqlite": "supervisor_plugins.idempotency_sqlite:SqliteStore",
    "idempotency_redis": "supervisor_plugins.idempotency_redis:RedisStore",
    "idempotency_postgresql": "supervisor_plugins.idempotency_postgresql:PostgresqlStore",
    "alert_log": "supervisor_plugins.alert_log:LogAlert",
    "alert_webhook": "supervisor_plugins.alert_webhook:WebhookAlert",
    "alert_slack": "supervisor_plugins.alert_slack:SlackAlert",
    "alert_pagerduty": "supervisor_plugins.alert_pagerduty:PagerDutyAlert",
    "alert_email": "supervisor_plugins.alert_email:EmailAlert",
    "alert_command": "supervisor_plugins.alert_command:CommandAlert",
    "alert_apprise": "supervisor_plugins.alert_apprise:AppriseAlert",
}
"""Our own entry points, so that a worker with these alone does not search every installed distribution."""
_EXTRAS = {
    "tracing": "tracing",
    "decode_msgspec": "msgspec",
    "decode_avro": "avro",
    "decode_protobuf": "protobuf",
    "decode_json_schema": "json-schema",
    "idempotency_redis": "redis",
    "idempotency_postgresql": "postgresql",
}
"""Those of ours that need more than every installation has, and what brings it."""
_PROCESSING = ("process", "process_batch")


@dataclass(frozen=True, slots=True)
class _Marked:
    """An attribute of a plugin with ``hookimpl`` on it."""

    attribute: str
    hook: str
    is_wrapper: bool


def load(spec: PluginsSpec, handler: str, *, group: str, sinks: Sequence[str] = (), front: Front = NOTHING) -> Active:
    """Load all that ``spec`` lists, and the group's ``handler`` ("" for none).

    User code runs: modules are imported, classes instantiated; ``open()`` and hooks are not called.
    Raises ``PluginError`` with every problem found. A ``group`` needs exactly one ``process`` or
    ``process_batch``; "" (the notifier) needs none. Each of ``sinks`` must be a loaded plugin with
    ``send_dead_letter``; ``front`` says what stands in front of the handler.
    """
    extend_path(spec.search_path)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    problems: list[Problem] = []
    for plugin in {one.target: one for one in spec.plugins}.values():
        try:
            _register(manager, plugin.target, make(plugin))
        except PluginError as error:
            problems += error.problems
    made: Handler | None = None
    if handler:
        try:
            made = load_handler(handler)
            _register_handler(manager, made)
        except PluginError as error:
            problems += error.problems
    hooks = {hook: _resolved(manager, hook) for hook in HOOKS}
    if made is not None:
        hooks[made.hook] = [*_others(hooks[made.hook], made), (f"handler {handler!r}", made.function)]
    if not problems:
        problems += _one_handler(group, hooks) if group else ()
        problems += _placement(group, hooks)
    if group and not problems:
        problems += front_problems(front, hooks)
    if problems:
        raise PluginError(*problems)
    hooks |= wrapped(hooks)
    guard = put_in_front(front, hooks, group=group)
    active = Active(
        hooks,
        handler_open=made.open if made else None,
        handler_close=made.close if made else None,
        guard=guard,
    )
    for sink in sinks:
        active.sink(sink)
    return active


def load_sink(spec: PluginsSpec, sink: str) -> Active:
    """Load the plugin called ``sink`` alone, for who writes letters outside a worker; raises ``PluginError``."""
    extend_path(spec.search_path)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugin = next((one for one in spec.plugins if one.target == sink), PluginSpec(sink))
    _register(manager, sink, make(plugin))
    active = Active({hook: _resolved(manager, hook) for hook in HOOKS})
    active.sink(sink)
    return active


def make(spec: PluginSpec) -> object:
    """Return the plugin object that ``spec`` stands for: a module, an instance, or an instance of a class."""
    found = _find(spec.target)
    if inspect.isroutine(found):
        help_ = "a plugin is a module, a class or an instance: name the one that holds this function"
        raise PluginError(Problem(spec.target, "is a function", help_))
    if not inspect.isclass(found):
        if spec.options:
            help_ = "make it a class with an inner Options (a dataclass), or remove the table"
            raise PluginError(Problem(spec.target, "takes no options, but has some in the config", help_))
        return found
    options_class = getattr(found, "Options", None)
    arguments: tuple[object, ...] = ()
    if isinstance(options_class, type):
        arguments = (build_options(spec.target, options_class, spec.options),)
    elif spec.options:
        help_ = (
            f"give {found.__qualname__} an inner Options (a dataclass), or remove the table; {table_help(spec.target)}"
        )
        raise PluginError(Problem(spec.target, "takes no options, but has some in the config", help_))
    announce(f"calling {spec.target}: {found.__qualname__}({'options' if arguments else ''})")
    try:
        made: object = found(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code
        text = f"{found.__qualname__}({'options' if arguments else ''}) failed: {failure(error)}"
        raise PluginError(Problem(spec.target, text)) from error
    return made


def installed() -> "dict[str, EntryPoint]":
    """Return the plugins that installed distributions offer, by name; reads their metadata, imports nothing."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - see above

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def import_plugin(name: str, target: str) -> Any:  # noqa: ANN401 - user objects have no type here
    """Return what an entry point called ``name`` stands for; raises ``PluginError``."""
    try:
        return import_object(name, target)
    except PluginError as error:
        extra = _EXTRAS.get(name) if _OURS.get(name) == target else None
        if extra is None or not isinstance(error.__cause__, ImportError):
            raise
        help_ = f"pip install 'kafka-supervisor[{extra}]'"
        raise PluginError(Problem(name, f"what it needs is not installed: {error.__cause__}", help_)) from error


def implemented(plugin: object) -> tuple[str, ...]:
    """Return the names of the hooks that a plugin object or class implements."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    return tuple(sorted(one.hook for one in _marked(manager, plugin)))


def _find(target: str) -> Any:  # noqa: ANN401 - user objects have no type here
    if ":" in target:
        return import_object(target, target)
    if target in _OURS:
        return import_plugin(target, _OURS[target])
    from importlib.metadata import entry_points  # noqa: PLC0415 - see above

    points = tuple(entry_points(group=ENTRY_POINTS, name=target))
    if len({point.value for point in points}) > 1:
        owners = ", ".join(f"{point.value} ({point.dist.name if point.dist else '?'})" for point in points)
        help_ = "write 'module:attribute' instead of the name"
        raise PluginError(Problem(target, f"is offered by more than one distribution: {owners}", help_))
    if points:
        return import_object(target, f"{points[0].module}:{points[0].attr}")
    if "." in target or (target.isidentifier() and importlib.util.find_spec(target) is not None):
        return import_object(target, target)
    names = sorted(installed())
    guess = did_you_mean(target, names) or did_you_mean(target, top_modules())
    help_ = f"{guess}installed: {', '.join(names)}; or write the name of a file in plugins/, or 'module:attribute'"
    raise PluginError(Problem(target, "is not an installed plugin, nor a module", help_))


def _marked(manager: pluggy.PluginManager, plugin: object) -> list[_Marked]:
    found = []
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            is_wrapper = bool(options.get("wrapper") or options.get("hookwrapper"))
            found.append(_Marked(attribute, options.get("specname") or attribute, is_wrapper))
    return found


def _register(manager: pluggy.PluginManager, name: str, plugin: object) -> None:
    marked = _marked(manager, plugin)
    problems = [problem for one in marked for problem in _hook_problems(name, plugin, one)]
    if not marked:
        problems.append(_no_hook(name, plugin))
    if problems:
        raise PluginError(*problems)
    try:
        manager.register(plugin, name)
    except ValueError as error:
        raise PluginError(Problem(name, "is the same object as another plugin of the list", "list it once")) from error


def _register_handler(manager: pluggy.PluginManager, handler: Handler) -> None:
    """Let a handler object that also has marked hooks take part in them."""
    owner = handler.owner
    if owner is not None and not manager.is_registered(owner) and _marked(manager, owner):
        _register(manager, f"handler {handler.target!r}", owner)


def _hook_problems(name: str, plugin: object, marked: _Marked) -> Iterable[Problem]:
    hook = marked.hook
    if hook not in HOOKS:
        yield Problem(name, f"{hook!r} is marked but is no hook", did_you_mean(hook, HOOKS) + _all_hooks())
    elif marked.is_wrapper:
        text = f"{hook}: wrappers are not supported (hooks are resolved to plain calls, for speed)"
        yield Problem(name, text, "wrap inside the handler, with a decorator or a call of your own")
    else:
        function = getattr(plugin, marked.attribute)
        if bad := unusable(function, may_be_async=hook in ASYNC_HOOKS):
            yield Problem(name, f"{hook}: {bad[0]}", bad[1])
        if bad := wrong_arguments(hook, function):
            yield Problem(name, *bad)


def _no_hook(name: str, plugin: object) -> Problem:
    unmarked = [hook for hook in HOOKS if callable(getattr(plugin, hook, None))]
    if unmarked:
        return Problem(name, f"{', '.join(unmarked)} is not marked as a hook", "put @hookimpl above it")
    return Problem(name, "implements no hook", _all_hooks())


def _all_hooks() -> str:
    return f"hooks: {', '.join(HOOKS)}"


def _resolved(manager: pluggy.PluginManager, hook: str) -> list[Named]:
    """Return the implementations in pluggy's call order: newest first, ``tryfirst`` before, ``trylast`` after."""
    implementations = reversed(getattr(manager.hook, hook).get_hookimpls())
    return [(one.plugin_name, adapted(hook, one.function)) for one in implementations]


def _others(named: Sequence[Named], handler: Handler) -> list[Named]:
    """Leave out the handler's own method where it is marked as a hook besides."""
    return [(name, function) for name, function in named if function != handler.function]


def _one_handler(group: str, hooks: Mapping[str, Sequence[Named]]) -> Iterable[Problem]:
    candidates = [f"{hook} of {name}" for hook in _PROCESSING for name, _ in hooks[hook]]
    if not candidates:
        help_ = "write handler = \"package.module:function\", or list a plugin that implements 'process'"
        yield Problem(f"groups.{group}", "has neither a handler nor a plugin with 'process' or 'process_batch'", help_)
    elif len(candidates) > 1:
        yield Problem(f"groups.{group}", f"has more than one handler: {', '.join(candidates)}", "keep exactly one")


def _placement(group: str, hooks: Mapping[str, Sequence[Named]]) -> Iterable[Problem]:
    """Refuse a plugin where nothing would ever call it."""
    alerting = {name for name, _ in hooks["alert"]}
    working = {name for hook, named in hooks.items() if hook != "alert" for name, _ in named}
    if group:
        for name in sorted(alerting - working):
            text = f"only has the hook 'alert', which is not called in the workers of groups.{group}"
            yield Problem(name, text, "list it in supervisor.alerts")
    else:
        for name in sorted(working - alerting):
            help_ = "list it in the plugins of a group; an alert plugin implements alert(self, event)"
            yield Problem(name, "is listed in supervisor.alerts but has no hook 'alert'", help_)
