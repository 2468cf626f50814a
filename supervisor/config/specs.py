"""What child processes and the parent's rules are told, made from a config."""

from dataclasses import dataclass
from typing import Any

from supervisor.config.config import Config
from supervisor.config.flood_values import rate_of
from supervisor.config.limit_specs import allowance, limits_spec
from supervisor.config.models import Breaker, Group, Idempotency, Restart
from supervisor.config.plugin_places import group_places, shared_places
from supervisor.config.retry_tables import Retry
from supervisor.config.values import decoder_plugin, duration_text
from supervisor.core.autoscale import COOLDOWN, GROW_EVERY, STUCK_AFTER, Rules, WorkerRange, least_workers
from supervisor.core.backoff import Backoff
from supervisor.core.child_specs import InspectorSpec, NotifierSpec
from supervisor.core.jsonable import to_json
from supervisor.core.letters import Profile
from supervisor.core.limits import Allowance
from supervisor.core.spec import (
    BatchSpec,
    BreakerSpec,
    CommitSpec,
    DeadLetterSpec,
    Delivery,
    FloodAction,
    FloodSpec,
    GroupSpec,
    IdempotencySpec,
    LogFileSpec,
    Mode,
    Ordering,
    PluginSpec,
    PluginsSpec,
    RetryRule,
    RetrySpec,
    RetryTier,
    Then,
    WorkerSpec,
)

PROBE_FACTOR, PROBE_JITTER = 2.0, 0.25


@dataclass(frozen=True, slots=True)
class SlotPolicy:
    """The numbers by which the parent runs a group's slots; times in seconds.

    ``backoff`` is of the waits after the first restart, which is immediate. ``is_static``: the member id
    outlives the process, so a slot that stays down must be made to leave the group.
    """

    workers: int
    backoff: Backoff
    never_ready_limit: int
    half_open_after: int
    start_timeout: float
    stop_timeout: float
    handler_timeout: float
    failover_after: float
    is_static: bool
    allowance: Allowance


def slot_policy(config: Config, name: str) -> SlotPolicy:
    """Return how the parent is to run the slots of group ``name``."""
    group = config.groups[name]
    return SlotPolicy(
        workers=least_workers(group.workers),
        backoff=_backoff(group.restart),
        never_ready_limit=group.restart.never_ready_limit,
        half_open_after=group.restart.half_open_after,
        start_timeout=group.start_timeout,
        stop_timeout=config.supervisor.stop_timeout,
        handler_timeout=group.handler_timeout,
        failover_after=group.failover_after,
        is_static=group.protocol == "classic",
        allowance=allowance(group.limits),
    )


def scaling_rules(config: Config, name: str) -> Rules | None:
    """Return how group ``name`` is scaled; ``None`` when its number of workers is fixed or nobody reads its lag."""
    group = config.groups[name]
    if not isinstance(group.workers, WorkerRange) or not config.supervisor.lag_interval:
        return None
    wanted = group.workers
    # A partition stands still for as long as a record may take, and for the commit after it.
    stuck_after = max(STUCK_AFTER, 2 * group.handler_timeout)
    return Rules(
        wanted,
        cooldown=COOLDOWN if wanted.cooldown is None else wanted.cooldown,
        grow_every=GROW_EVERY if wanted.grow_every is None else wanted.grow_every,
        stuck_after=stuck_after if wanted.stuck_after is None else wanted.stuck_after,
    )


def flood_spec(config: Config, name: str) -> FloodSpec:
    """Return when dead letters of group ``name`` are a flood, for its workers and for the parent."""
    table = config.groups[name].flood
    count, seconds = rate_of(table.rate)
    return FloodSpec(
        ratio=table.ratio or 0.0,
        min_records=table.min_records,
        window=table.window,
        consecutive=table.consecutive or 0,
        rate_count=count,
        rate_seconds=seconds,
        action=FloodAction(table.action),
        resume_after=table.resume_after,
    )


def inspector_spec(config: Config, parent_pid: int) -> InspectorSpec | None:
    """Return what the inspector child is told; ``None`` when there is to be none."""
    settings = config.supervisor
    if not settings.lag_interval:
        return None
    return InspectorSpec(
        supervisor=settings.name,
        groups=tuple(group_spec(config, name) for name in config.enabled),
        interval=settings.lag_interval,
        parent_pid=parent_pid,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )


def group_spec(config: Config, name: str) -> GroupSpec:
    """Return all that workers of group ``name`` need to know; ``kafka`` has only what the user wrote."""
    group = config.groups[name]
    letters, decoder = group.dead_letters, decoder_plugin(group.decode)
    return GroupSpec(
        name=name,
        topics=group.topics,
        handler=group.handler,
        plugins=_plugins(config, (*group.plugins, decoder, group.idempotency.store, letters.sink, letters.fallback)),
        ordering=Ordering(group.ordering),
        concurrency=group.concurrency,
        delivery=Delivery(group.delivery),
        protocol=group.protocol,
        handler_timeout=group.handler_timeout,
        max_gap=group.max_gap,
        queue_records=group.queue_records,
        queue_bytes=group.queue_bytes,
        revoke_timeout=group.revoke_timeout,
        retry=_retry(group.retry),
        dead_letters=_dead_letters(group),
        commit=CommitSpec(
            group.commit.mode,
            group.commit.count,
            interval=_commit_interval(group),
            metadata=group.commit.metadata,
        ),
        batch=BatchSpec(group.batch.size, group.batch.age),
        breaker=_breaker(group.breaker),
        flood=flood_spec(config, name),
        kafka=_kafka(config, group),
        out_of_range=group.out_of_range,
        extend_limit=group.extend_limit,
        preload=group.preload,
        code_version=group.code_version,
        decoder=decoder,
        max_deaths=group.max_deaths,
        idempotency=_idempotency(group.idempotency),
    )


def _idempotency(table: Idempotency) -> IdempotencySpec | None:
    return IdempotencySpec(table.store, table.key, ttl=table.ttl, lease=table.lease) if table.store else None


def _dead_letters(group: Group) -> DeadLetterSpec:
    letters = group.dead_letters
    return DeadLetterSpec(
        letters.sink,
        letters.fallback,
        topic=letters.topic,
        timeout=letters.timeout,
        headers=Profile(letters.headers),
        create=letters.create,
    )


def _retry(table: Retry) -> RetrySpec:
    then = table.then or ("topic" if table.topics else "dead-letter")
    rules = []
    for one in table.rules:
        own = {name: value for name, value in one if value is not None and name != "error"}
        whole = table.model_copy(update=own)
        rules.append(RetryRule(one.error, whole.attempts, backoff=_backoff(whole), then=Then(one.then or then)))
    return RetrySpec(
        table.attempts,
        _backoff(table),
        permanent=table.permanent,
        rules=tuple(rules),
        then=Then(then),
        tiers=tuple(RetryTier(duration_text(delay), delay) for delay in table.topics),
        topic=table.topic,
    )


def _commit_interval(group: Group) -> float:
    return group.commit.transaction_interval if group.delivery == "exactly-once" else group.commit.interval


def worker_spec(config: Config, name: str, *, slot: int, incarnation: int, mode: Mode, parent_pid: int) -> WorkerSpec:
    """Return what one incarnation of a slot of group ``name`` is told."""
    settings = config.supervisor
    before = config.enabled[: config.enabled.index(name)] if name in config.enabled else ()
    place = sum(slot_policy(config, one).workers for one in before) + slot
    return WorkerSpec(
        supervisor=settings.name,
        group=group_spec(config, name),
        slot=slot,
        incarnation=incarnation,
        mode=mode,
        parent_pid=parent_pid,
        state_dir=settings.state_dir,
        orphan_grace=settings.orphan_grace,
        log_format=settings.log_format,
        log_level=settings.log_level,
        limits=limits_spec(config.groups[name].limits, place=place),
        log_file=_log_file(config, name, slot),
    )


def _log_file(config: Config, name: str, slot: int) -> LogFileSpec | None:
    logs = config.groups[name].logs
    if not logs.dir:
        return None
    return LogFileSpec(str(config.path.parent / logs.dir / f"{name}-{slot}.log"), logs.max_size, logs.keep)


def notifier_spec(config: Config, parent_pid: int) -> NotifierSpec:
    """Return what the notifier child is told."""
    settings = config.supervisor
    return NotifierSpec(
        supervisor=settings.name,
        plugins=_plugins(config, settings.alerts),
        parent_pid=parent_pid,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )


def plugins_request(config: Config) -> dict[str, Any]:
    """Return as JSON values what a throwaway child is to check: plugins, handlers, librdkafka's settings.

    Holds secrets: never in argv.
    """
    specs = {name: group_spec(config, name) for name in config.enabled}
    return {
        "groups": {
            name: {
                "plugins": to_json(spec.plugins),
                "handler": spec.handler,
                "sinks": [spec.dead_letters.sink, spec.dead_letters.fallback],
                "decoder": spec.decoder,
                "idempotency": to_json(spec.idempotency),
                "permanent": list(spec.retry.permanent),
                "down": list(spec.breaker.errors),
                "rules": [rule.error for rule in spec.retry.rules],
                "kafka": dict(spec.kafka),
                "protocol": spec.protocol,
                "preload": list(spec.preload),
                "places": group_places(config, spec),
            }
            for name, spec in specs.items()
        },
        "notifier": to_json(_plugins(config, config.supervisor.alerts)),
        "places": shared_places(config),
    }


def _plugins(config: Config, names: tuple[str, ...]) -> PluginsSpec:
    once = dict.fromkeys(name for name in names if name)
    specs = tuple(PluginSpec(name, dict(config.plugins.get(name, {}))) for name in once)
    return PluginsSpec(specs, config.search_path)


def _kafka(config: Config, group: Group) -> dict[str, str | int | float | bool]:
    return {**config.kafka, **group.kafka}


def _breaker(table: Breaker) -> BreakerSpec:
    longest = max(table.probe_initial, table.probe_max)
    return BreakerSpec(table.errors, Backoff(table.probe_initial, PROBE_FACTOR, longest, PROBE_JITTER))


def _backoff(table: Retry | Restart) -> Backoff:
    return Backoff(initial=table.initial, factor=table.factor, max=table.max, jitter=table.jitter)
