"""Which way outputs and offsets take to Kafka: the two values of ``delivery``."""

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.core.exits import ExitCode
from supervisor.core.spec import Delivery, WorkerSpec
from supervisor.kafka.outputs import OutputProducer
from supervisor.kafka.producer import LazyProducer
from supervisor.kafka.settings import output_settings, producer_settings, transaction_settings
from supervisor.kafka.topics import DeadLetterTopics
from supervisor.kafka.transactions import TransactionalProducer
from supervisor.plugin.types import Send
from supervisor.worker.committer import Commits, Committer
from supervisor.worker.engine import Engine
from supervisor.worker.outlet import Outbox, Outlet

TRANSACTION_TIMEOUT = 30.0
"""Seconds after which the coordinator ends a transaction that a dead worker left open; ours take milliseconds."""

Fail = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Producers:
    """The producers of a worker, each made when it is needed. ``send`` is the one that plugins have.

    ``topics`` looks at dead-letter topics before they are written to, where that can help.
    """

    send: Send
    outputs: Callable[[Fail], OutputProducer]
    transactional: Callable[[], TransactionalProducer]
    topics: DeadLetterTopics | None = None


def producers(spec: WorkerSpec, send: LazyProducer) -> Producers:
    """Return the real ones."""

    def transactional() -> TransactionalProducer:
        settings = transaction_settings(spec, timeout=TRANSACTION_TIMEOUT)
        # Half of it for each try: a transaction must be over before the coordinator takes it for a dead one's.
        return TransactionalProducer(settings, timeout=float(settings["transaction.timeout.ms"]) / 2000)

    topics, create = None, spec.group.dead_letters.create
    if create or spec.group.delivery is Delivery.EXACTLY_ONCE:
        topics = DeadLetterTopics(spec.group.kafka, client_id=spec.instance_id, create=create)
    return Producers(send, lambda fail: OutputProducer(output_settings(spec), fail), transactional, topics)


def lazy_producer(spec: WorkerSpec) -> LazyProducer:
    """Return the producer of plugins and dead letters."""
    return LazyProducer(producer_settings(spec))


def delivery(engine: Engine, made: Producers) -> tuple[Commits, Outlet]:
    """Return what commits, and where outputs go."""
    if engine.spec.group.delivery is Delivery.EXACTLY_ONCE:
        from supervisor.worker.transactions import Transactions  # noqa: PLC0415 - 3 ms that other workers need not pay

        transactions = Transactions(engine, made.transactional())
        return transactions, transactions.kept

    def fail(reason: str) -> None:
        engine.fail(ExitCode.KAFKA_FATAL, reason)

    return Committer(engine), Outbox(engine, made.outputs(fail), made.send)
