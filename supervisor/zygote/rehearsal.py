"""What a worker does before it meets its handler, done once before any fork, so that what it leaves is shared.

It leaves caches (the hints of dataclasses, methods by name) and bytecode that was made for what it meets. Nothing
else: no file, no thread, no signal handler, no setting.
"""

import logging

from supervisor.core.backoff import Backoff
from supervisor.core.frames import FrameReader, encode
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.spec import (
    BatchSpec,
    CommitSpec,
    DeadLetterSpec,
    Delivery,
    GroupSpec,
    LogFileSpec,
    Mode,
    Ordering,
    PluginSpec,
    PluginsSpec,
    RetrySpec,
    WorkerSpec,
)
from supervisor.kafka.settings import consumer_settings, producer_settings
from supervisor.logs import EventFormatter
from supervisor.plugin.loader import load

TURNS = 3
_SINKS = ("dlq_kafka", "dlq_file")


def rehearse() -> None:
    """Read a spec, load plugins and a handler, write log lines, as often as it takes Python to settle."""
    for _ in range(TURNS):
        (frame,) = FrameReader().feed(encode("spec", spec=to_json(_spec())))
        spec = from_json(WorkerSpec, frame["spec"])
        group = spec.group
        load(group.plugins, group.handler, group=group.name, sinks=_SINKS)
        consumer_settings(spec)
        producer_settings(spec)
        line = logging.makeLogRecord({"msg": "rehearsal", "fields": {"partitions": "orders/0"}})
        for style in ("text", "json"):
            EventFormatter(style, {"group": group.name, "slot": spec.slot}).format(line)


def process(_record: object) -> None:
    """Be the handler that is loaded; nothing calls it."""


def _spec() -> WorkerSpec:
    group = GroupSpec(
        name="rehearsal",
        topics=("orders",),
        handler=f"{__name__}:process",
        plugins=PluginsSpec(tuple(PluginSpec(sink) for sink in _SINKS)),
        ordering=Ordering.KEY,
        concurrency=1,
        delivery=Delivery.AT_LEAST_ONCE,
        protocol="classic",
        handler_timeout=1.0,
        max_gap=1,
        queue_records=1,
        queue_bytes=1,
        revoke_timeout=1.0,
        retry=RetrySpec(1, Backoff(initial=1.0, factor=1.0, max=1.0, jitter=0.0)),
        dead_letters=DeadLetterSpec(*_SINKS, topic="{topic}.dlq", timeout=1.0),
        commit=CommitSpec("manual", 1, 1.0),
        batch=BatchSpec(1, 1.0),
        kafka={"bootstrap.servers": "nowhere"},
    )
    return WorkerSpec(
        supervisor="rehearsal",
        group=group,
        slot=0,
        incarnation=1,
        mode=Mode.WORK,
        parent_pid=1,
        state_dir="",
        orphan_grace=1.0,
        log_format="text",
        log_level="info",
        log_file=LogFileSpec("", 1, 1),
    )
