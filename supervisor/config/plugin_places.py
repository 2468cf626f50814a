"""Where in the file that stands which a throwaway child may find wrong: plugins, handlers, exceptions, their options.

By the names that the child's problems have: its ``plugin``, then for an option a blank and the option.
"""

from supervisor.config.config import Config
from supervisor.config.problems import KeyPath
from supervisor.core.spec import GroupSpec


def group_places(config: Config, spec: GroupSpec) -> dict[str, str]:
    """Return the places of all that a group names."""
    group, letters, idempotency = config.groups[spec.name], spec.dead_letters, spec.idempotency
    named: list[tuple[str, KeyPath]] = [
        *((one, ("plugins", at)) for at, one in enumerate(group.plugins)),
        (letters.sink, ("dead_letters", "sink")),
        (letters.fallback, ("dead_letters", "fallback")),
        (spec.decoder, ("decode",)),
        (f"handler {spec.handler!r}", ("handler",)),
        *((f"retry.permanent {one!r}", ("retry", "permanent", at)) for at, one in enumerate(spec.retry.permanent)),
        *((f"retry.rules {one.error!r}", ("retry", "rules", at, "error")) for at, one in enumerate(spec.retry.rules)),
        *((f"breaker.errors {one!r}", ("breaker", "errors", at)) for at, one in enumerate(spec.breaker.errors)),
        *((f"preload {one!r}", ("preload", at)) for at, one in enumerate(spec.preload)),
        *((f"kafka {key}", ("kafka", key)) for key in spec.kafka),
    ]
    if idempotency is not None:
        named.append((idempotency.store, ("idempotency", "store")))
        named.append((f"idempotency.key {idempotency.key!r}", ("idempotency", "key")))
    return {name: config.place(("groups", spec.name, *path)) for name, path in reversed(named) if name}


def shared_places(config: Config) -> dict[str, str]:
    """Return the places of alert plugins, and of the options of all plugins."""
    alerts: list[tuple[str, KeyPath]] = [
        (one, ("supervisor", "alerts", at)) for at, one in enumerate(config.supervisor.alerts)
    ]
    options: list[tuple[str, KeyPath]] = [
        (f"{name} {key}", ("plugins", name, key)) for name, table in config.plugins.items() for key in table
    ]
    return {name: config.place(path) for name, path in (*alerts, *options)}
