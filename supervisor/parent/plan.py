"""What the parent is to run: made from the config once, at its start."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.config import (
    Config,
    condition_rules,
    flood_spec,
    flow_rules,
    group_spec,
    inspector_spec,
    notifier_spec,
    paths,
    plugins_request,
    scaling_rules,
    slot_policy,
    worker_spec,
)
from supervisor.core.addresses import parse_address
from supervisor.core.autoscale import Rules
from supervisor.core.child_specs import InspectorSpec, NotifierSpec
from supervisor.core.limits import Allowance
from supervisor.core.progress import Limits
from supervisor.core.retry_topics import retry_topics, subscription
from supervisor.core.slot import Policy
from supervisor.core.spec import FloodSpec, Mode, WorkerSpec
from supervisor.parent.alerts.alerting import AlertPlan
from supervisor.parent.store.journal import Retention

SPARE_CELLS = 2
"""Cells of a slot file beyond the handler threads: the main thread may hold the polling baton and work, too."""

HUNG_MARGIN = 2.0
"""Seconds a hung worker gets beyond its own deadline after SIGTERM, which is the orphan's grace."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group. ``spec(slot, incarnation, mode)`` makes what a worker is told; ``cells`` sizes the slot files.

    ``topics`` are all that is read, ``retry_topics`` among them. ``workers`` is the number to begin with;
    ``scaling`` says how it changes with the lag, ``None``: not at all.
    """

    name: str
    topics: tuple[str, ...]
    workers: int
    policy: Policy
    limits: Limits
    cells: int
    spec: Callable[[int, int, Mode], WorkerSpec]
    allowance: Allowance = field(default_factory=Allowance)
    max_deaths: int = 3
    scaling: Rules | None = None
    flood: FloodSpec = field(default_factory=FloodSpec)
    retry_topics: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole supervisor.

    ``notifier`` is ``None`` when nobody is to be told, ``inspector`` when nobody is to look at lag; ``plugins`` is
    for the check at the start. ``http``: host and port of the HTTP listener, ``None``: there is none.
    """

    supervisor: str
    groups: tuple[GroupPlan, ...]
    runtime_dir: Path
    state_dir: Path
    socket: Path
    lock: Path
    slot_file: Callable[[str, int], Path]
    orphan_grace: float
    notifier: NotifierSpec | None = None
    plugins: dict[str, Any] | None = None
    notifier_program: tuple[str, ...] = (sys.executable, "-P", "-m", "supervisor.notifier")
    log_format: str = "text"
    log_level: str = "info"
    start_method: str = "exec"
    zygote_program: tuple[str, ...] = (sys.executable, "-P", "-m", "supervisor.zygote")
    retention: Retention = field(default_factory=Retention)
    inspector: InspectorSpec | None = None
    alerting: AlertPlan = field(default_factory=AlertPlan)
    http: tuple[str, int] | None = None


def plan(config: Config) -> Plan:
    """Return what the parent is to run for ``config``."""
    settings, places = config.supervisor, paths(config)
    return Plan(
        supervisor=settings.name,
        groups=tuple(_group(config, name) for name in config.enabled),
        runtime_dir=places.runtime_dir,
        state_dir=places.state_dir,
        socket=places.socket,
        lock=places.lock,
        slot_file=places.slot_file,
        orphan_grace=settings.orphan_grace,
        notifier=notifier_spec(config, os.getpid()) if settings.alerts else None,
        plugins=plugins_request(config),
        log_format=settings.log_format,
        log_level=settings.log_level,
        start_method=settings.start_method,
        retention=Retention(settings.journal.max_age, settings.journal.max_size),
        inspector=inspector_spec(config, os.getpid()),
        alerting=AlertPlan(flow_rules(config.alerting), condition_rules(config.alerting), config.alerting.runbook_url),
        http=parse_address(config.http.listen) if config.http.listen else None,
    )


def _group(config: Config, name: str) -> GroupPlan:
    group, numbers, spec = config.groups[name], slot_policy(config, name), group_spec(config, name)
    return GroupPlan(
        name=name,
        topics=subscription(spec),
        retry_topics=frozenset(retry_topics(spec)),
        workers=numbers.workers,
        policy=Policy(
            backoff=numbers.backoff,
            never_ready_limit=numbers.never_ready_limit,
            group_failures=numbers.half_open_after,
            start_timeout=numbers.start_timeout,
            stop_timeout=numbers.stop_timeout,
            hung_timeout=config.supervisor.orphan_grace + HUNG_MARGIN,
            failover_after=numbers.failover_after,
            is_static=numbers.is_static,
            supervisor=config.supervisor.name,
        ),
        limits=Limits(numbers.handler_timeout),
        cells=group.concurrency + SPARE_CELLS,
        spec=partial(_spec, config, name),
        allowance=numbers.allowance,
        scaling=scaling_rules(config, name),
        max_deaths=group.max_deaths,
        flood=flood_spec(config, name),
    )


def _spec(config: Config, name: str, slot: int, incarnation: int, mode: Mode) -> WorkerSpec:
    return worker_spec(config, name, slot=slot, incarnation=incarnation, mode=mode, parent_pid=os.getpid())
