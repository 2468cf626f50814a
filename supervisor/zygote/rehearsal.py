"""What a worker does until it is idle, done before any fork, so that what it leaves is shared.

It leaves caches (the hints of dataclasses, methods by name) and bytecode that was made for what it meets. Nothing
else: no file, no client, no thread, no signal handler, and of all settings the usual log level.
"""

import io
import logging
import mmap
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from confluent_kafka import Consumer

from supervisor.core.backoff import Backoff
from supervisor.core.board import BoardWriter, read_board, size
from supervisor.core.frames import encode
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.retry_topics import subscription
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
from supervisor.kafka.consumer import Source
from supervisor.kafka.settings import consumer_settings
from supervisor.link import Link
from supervisor.logs import EventFormatter
from supervisor.plugin.active import Active
from supervisor.plugin.loader import load
from supervisor.worker.delivery import lazy_producer, producers
from supervisor.worker.orders import Orders
from supervisor.worker.process import Incarnation
from supervisor.zygote.nowhere import NoBrokers, NoParent

TURNS = 3
PATIENCE = 10.0
_SINKS = ("dlq_kafka", "dlq_file")


def rehearse() -> None:
    """Be a worker from its spec to the closed consumer, as often as it takes Python to settle."""
    for style in ("json", *("text",) * TURNS):
        ours, theirs = socket.socketpair()
        with ours, theirs, _logging(style):
            theirs.sendall(encode("spec", spec=to_json(_spec())))
            link = Link(ours)
            (frame,) = link.wait(time.monotonic() + PATIENCE)
            spec = from_json(WorkerSpec, frame["spec"])
            group = spec.group
            active = load(group.plugins, group.handler, group=group.name, sinks=_SINKS)
            _work(spec, active, link)


def _work(spec: WorkerSpec, active: Active, link: Link) -> None:
    """Join, be idle, stop. There are no handler threads, so the main thread stands in for them."""
    memory = mmap.mmap(-1, size(0))
    read_board(memory)
    board = BoardWriter(memory, cells=0, pid=spec.parent_pid, incarnation=1, now_ns=time.monotonic_ns())
    orders = NoParent()
    made = producers(spec, lazy_producer(spec))
    incarnation = Incarnation(spec, board, link, active, cast("Orders", orders), made)
    orders.engine = incarnation.engine
    client = cast("Callable[..., Consumer]", NoBrokers)
    incarnation.begin(Source(consumer_settings(spec), subscription(spec.group), incarnation.poller, client=client))
    incarnation.run()


@contextmanager
def _logging(style: str) -> Iterator[None]:
    """Have log lines formatted for nobody. The level stays: a worker that finds its own need not set it."""
    root, handler = logging.getLogger(), logging.StreamHandler(io.StringIO())
    handler.setFormatter(EventFormatter(style, {"group": "rehearsal", "slot": 0}))
    before, root.handlers[:] = root.handlers[:], [handler]
    if root.level != logging.INFO:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        handler.close()


def process(_record: object) -> None:
    """Be the handler that is loaded; nothing calls it."""


def _spec() -> WorkerSpec:
    group = GroupSpec(
        name="rehearsal",
        topics=("orders",),
        handler=f"{__name__}:process",
        plugins=PluginsSpec(tuple(PluginSpec(sink) for sink in _SINKS)),
        ordering=Ordering.KEY,
        concurrency=0,
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
