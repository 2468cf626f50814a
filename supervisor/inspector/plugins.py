"""Load plugins and handlers the way workers and the notifier will, and say what is wrong with them."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from supervisor.core.jsonable import from_json
from supervisor.core.spec import IdempotencySpec, PluginsSpec
from supervisor.plugin.active import Active
from supervisor.plugin.errors import PluginError, Problem
from supervisor.plugin.front import NOTHING, Front
from supervisor.plugin.importing import exception_types, extend_path, import_module
from supervisor.plugin.loader import implemented, import_plugin, installed, load

NOTIFIER = "supervisor.alerts"


def inspect_plugins(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``problems``, ``active`` (per group: hook to plugin names) and, if asked for, ``installed``.

    ``request``: ``{"groups": {name: {"plugins": PluginsSpec, "handler": str, "sinks": [str], "permanent": [str],
    "down": [str], "rules": [str], "decoder": str, "idempotency": IdempotencySpec, "preload": [str], "places": PLACES}},
    "notifier": PluginsSpec, "places": PLACES, "installed": bool}``; everything but ``plugins`` may be left out.
    ``PLACES``: see ``config.plugin_places``. ``open()`` and hooks are not called. In the answer the notifier is
    ``supervisor.alerts``, with an empty ``group`` in problems.
    """
    problems: list[dict[str, str]] = []
    shared = request.get("places", {})
    active: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, group in request.get("groups", {}).items():
        spec = from_json(PluginsSpec, group["plugins"])
        loaded, found = _load(
            spec, group.get("handler", ""), group=name, sinks=group.get("sinks", ()), front=_front(group)
        )
        found += _exceptions("retry.permanent", group.get("permanent", ()), spec.search_path)
        found += _exceptions("breaker.errors", group.get("down", ()), spec.search_path)
        found += _exceptions("retry.rules", group.get("rules", ()), spec.search_path)
        found += _preload(group.get("preload", ()), spec.search_path)
        problems += [_json(name, problem, shared | group.get("places", {})) for problem in found]
        active[name] = loaded.implementations if loaded else {}
    if request.get("notifier"):
        loaded, found = _load(from_json(PluginsSpec, request["notifier"]), "", group="", sinks=(), front=NOTHING)
        problems += [_json("", problem, shared) for problem in found]
        active[NOTIFIER] = loaded.implementations if loaded else {}
    answer: dict[str, Any] = {"problems": problems, "active": active}
    if request.get("installed"):
        answer["installed"] = {name: _installed(point) for name, point in sorted(installed().items())}
    return answer


def _load(
    spec: PluginsSpec, handler: str, *, group: str, sinks: Iterable[str], front: Front
) -> tuple[Active | None, list[Problem]]:
    try:
        return load(spec, handler, group=group, sinks=[sink for sink in sinks if sink], front=front), []
    except PluginError as error:
        return None, list(error.problems)


def _front(group: dict[str, Any]) -> Front:
    idempotency = group.get("idempotency")
    return Front(group.get("decoder", ""), from_json(IdempotencySpec, idempotency) if idempotency else None)


def _exceptions(key: str, names: Iterable[str], search_path: Sequence[str]) -> list[Problem]:
    try:
        exception_types(names, key=key, search_path=search_path)
    except PluginError as error:
        return list(error.problems)
    return []


def _preload(names: Iterable[str], search_path: Sequence[str]) -> list[Problem]:
    extend_path(search_path)
    problems: list[Problem] = []
    for name in names:
        try:
            import_module(f"preload {name!r}", name)
        except PluginError as error:
            problems += error.problems
    return problems


def _installed(point: EntryPoint) -> dict[str, Any]:
    """Describe one installed plugin; its module is imported for that, here in the throwaway child."""
    owner = point.dist
    shown: dict[str, Any] = {
        "target": point.value,
        "distribution": owner.name if owner else "",
        "version": owner.version if owner else "",
        "hooks": [],
        "about": "",
        "problem": "",
    }
    try:
        found = import_plugin(point.name, f"{point.module}:{point.attr}")
    except PluginError as error:
        return shown | {"problem": error.problems[0].text}
    about = (found.__doc__ or "").strip().split("\n", 1)[0]
    return shown | {"hooks": list(implemented(found)), "about": about}


def _json(group: str, problem: Problem, places: Mapping[str, str]) -> dict[str, str]:
    told = {"group": group, "plugin": problem.plugin, "text": problem.text, "help": problem.help}
    return told | {"where": _place(problem, places)}


def _place(problem: Problem, places: Mapping[str, str]) -> str:
    """Return where what is wrong stands in the config, empty where it is not known; a handler's ``open()`` is at it."""
    name = problem.plugin
    option = places.get(f"{name} {problem.option}", "") if problem.option else ""
    return option or places.get(name) or places.get(name.rpartition(" ")[0], "")
