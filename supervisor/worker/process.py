"""The main thread of a working incarnation: start, watch, report, stop. It never runs a handler."""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.core.board import Board, BoardWriter, Wait
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.frames import Frame
from supervisor.core.jsonable import from_json
from supervisor.core.retry_topics import subscription
from supervisor.core.spec import BreakerOrder, End, FloodOrder, WorkerSpec
from supervisor.kafka.consumer import Source
from supervisor.kafka.fencing import other_member
from supervisor.kafka.settings import consumer_settings
from supervisor.link import Link
from supervisor.plugin.active import Active
from supervisor.plugin.errors import PluginError, StartError
from supervisor.plugin.front import Front
from supervisor.plugin.loader import load
from supervisor.plugin.types import WorkerContext
from supervisor.worker.delivery import Producers, delivery, lazy_producer, producers
from supervisor.worker.engine import MAIN, Engine
from supervisor.worker.executor import Executor
from supervisor.worker.mending import Mending
from supervisor.worker.orders import Orders, Stop
from supervisor.worker.outcomes import Outcomes
from supervisor.worker.ownership import Ownership
from supervisor.worker.poller import Poller
from supervisor.worker.report import Teller, note_on_board
from supervisor.worker.retry_topics import RetryTopics
from supervisor.worker.stores import StoreWatch

if TYPE_CHECKING:
    from supervisor.worker.tasks import TaskExecutor

logger = logging.getLogger(__name__)

TICK = 0.02
IDLE_TICK = 0.1
STATS_INTERVAL = 1.0
JOIN_TIMEOUT = 0.2
CANCEL_TIMEOUT = 0.5
"""Seconds that async handlers may take to end when they are cancelled at the end of a drain."""
COMMIT_RESERVE = 2.0
"""Seconds of the stop's time that are kept for the last commit and for closing; a third where that is less."""
GC_YOUNG = 20_000
"""New objects between two collections of the youngest generation."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an incarnation ended. ``left``: the group was left for good; ``is_tidy``: no thread of ours runs on."""

    code: ExitCode
    reason: str
    left: bool = False
    is_tidy: bool = True


def work(
    spec: WorkerSpec,
    board: BoardWriter,
    link: Link,
    orders: Orders,
    *,
    before: Board | None,
    look: Callable[[], None] = lambda: None,
) -> Ending:
    """Run the slot until it is told to stop or must end; ``before`` is what its last process left on the board.

    ``look`` is called about once a second.

    After a fatal end the client was not closed (its close may hang): the caller leaves by ``os._exit``.
    """
    group = spec.group
    names = tuple(name for name in (group.dead_letters.sink, group.dead_letters.fallback) if name)
    front = Front(group.decoder, group.idempotency)
    try:
        active = load(group.plugins, group.handler, group=group.name, sinks=names, front=front)
    except PluginError as error:
        return Ending(ExitCode.CONFIG, str(error))
    Path(spec.state_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    producer = lazy_producer(spec)
    context = WorkerContext(spec.supervisor, group.name, spec.slot, spec.incarnation, spec.state_dir, producer)
    incarnation = Incarnation(spec, board, link, active, orders, producers(spec, producer))
    incarnation.look = look
    try:
        active.worker_started(context)
    except StartError as error:
        return Ending(ExitCode.FAILURE, str(error), is_tidy=incarnation.join())
    engine = incarnation.engine
    source = Source(consumer_settings(spec), subscription(group), incarnation.poller)
    incarnation.is_first = before is None
    if spec.is_static and before is not None and before.wait is Wait.REVOKING:
        engine.rejoin = "its last process died while it gave partitions up"
    mending = Mending(engine, is_first=incarnation.is_first)
    _spare_the_collector()
    incarnation.begin(source)
    mending.start()
    incarnation.retry_topics.start()
    link.send("ready")
    incarnation.run()
    mending.end()
    incarnation.retry_topics.end()
    if engine.end is not None:
        return _failed(engine, *engine.end)
    producer.close(1.0)
    active.worker_stopping()
    return Ending(ExitCode.OK, "stopped", left=incarnation.has_left, is_tidy=incarnation.join())


def _spare_the_collector() -> None:
    """Keep the cyclic collector from walking every chunk of records, and what was loaded, again and again.

    A chunk is a thousand objects that die by reference count; CPython's default of 700 (2,000 from 3.13) has
    almost each one set off a collection.
    """
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 50, 100)


class Incarnation:
    """The parts of a working incarnation, and its way from the first poll to the closed consumer. Main thread."""

    def __init__(
        self, spec: WorkerSpec, board: BoardWriter, link: Link, active: Active, orders: Orders, made: Producers
    ) -> None:
        self._orders = orders
        self.look: Callable[[], None] = lambda: None
        self._heard: Stop | None = None
        """An order that came while this thread stood in for a poller and had to wait in a revoke."""
        self.is_first = False
        """Whether no process had this slot before, whose membership this one could still leave behind."""
        self.has_left = False
        self._thread = 0
        self.engine = Engine(spec, board, link, in_batches=active.process_batch is not None)
        self.engine.on_hold = spec.paused
        self._teller = Teller(self.engine, active.traced_calls)
        self.engine.guard = active.guard
        self._stores = StoreWatch(self.engine)
        self.committer, self.outlet = delivery(self.engine, made)
        self.engine.outlet = self.outlet
        self.ownership = Ownership(self.engine, active, self.committer, self.outlet)
        self.ownership.meanwhile = self._meanwhile
        self.poller = Poller(self.engine, self.ownership, self.committer)
        orders.other = self._obey
        self.retry_topics = RetryTopics(self.engine)
        self.outcomes = Outcomes(self.engine, active, self.outlet, made.topics, there=self.retry_topics.there)
        self.outlet.connect(self.outcomes)
        if active.guard is not None:
            active.guard.skipped = self.outcomes.breaker.skipped
        self.executor: Executor | TaskExecutor = _executor_of(active)(
            self.engine, active, poller=self.poller, committer=self.committer, outcomes=self.outcomes
        )

    def begin(self, source: Source) -> None:
        """Take the consumer and start the first handler thread."""
        self.poller.open(source)
        self.executor.start()

    def run(self) -> None:
        """Work until told to stop, then drain, commit and close; return at once when the engine says it must end."""
        self._thread = threading.get_ident()
        stop = self._watch()
        if stop is None:
            return
        stop = self._drain(stop)
        if self.engine.end is None:
            self.committer.rest(stop.deadline, self._poll)
            self.ownership.closing = True
            self._close(stop)

    def join(self) -> bool:
        """Return whether every handler thread ended; one that does not may be stuck in its handler."""
        return self.executor.join(time.monotonic() + JOIN_TIMEOUT)

    def _watch(self) -> Stop | None:
        """Look after the threads until an order comes or the engine says the end has come."""
        engine = self.engine
        stats_at = time.monotonic()
        while engine.end is None:
            stop = self._wait(self._tick())
            if stop is not None:
                return stop
            self.executor.watch()
            self.executor.stand_in()
            self.outcomes.overdue()
            self.outcomes.breaker.tick()
            self.outcomes.flood.tick()
            self.executor.wake()
            note_on_board(engine)
            if time.monotonic() >= stats_at:
                stats_at = time.monotonic() + STATS_INTERVAL
                self._stores.look()
                self._teller.tell()
                self.look()
        return None

    def _tick(self) -> float:
        """Return the seconds to wait for orders; with async handlers this thread polls, and waits there."""
        if not isinstance(self.executor, Executor):
            return self.executor.tick()
        return TICK if self.engine.serial or self.engine.lanes.count else IDLE_TICK

    def _drain(self, stop: Stop) -> Stop:
        """Finish what is in its handler, give back what is not, and take the baton; return the last order heard."""
        engine = self.engine
        logger.info("worker.stopping", extra={"fields": {"end": stop.end.value, "timeout": stop.timeout}})
        with engine.mutex:
            engine.stopping = True
            engine.drain_by = _drain_by(stop)
            engine.work.notify_all()
        self.executor.steal(drop=True)
        with engine.mutex:
            engine.purge(set(engine.owned))
            engine.work.notify_all()
        while time.monotonic() < engine.drain_by and engine.end is None:
            if _is_drained(engine, stop):
                break
            note_on_board(engine)
            again = self._wait(TICK)
            if again is not None:
                overdue = stop.overdue | again.overdue
                stop = again if again.deadline < stop.deadline else replace(stop, end=again.end)
                stop = replace(stop, overdue=overdue)
                engine.drain_by = _drain_by(stop)
            self.executor.watch()
            self.outcomes.overdue()
            self.executor.stand_in()
        if not isinstance(self.executor, Executor):
            self.executor.cancel(min(time.monotonic() + CANCEL_TIMEOUT, stop.deadline))
        _take_baton(engine, stop.deadline)
        return stop

    def _wait(self, timeout: float) -> Stop | None:
        """Return the next order, or ``None`` after ``timeout`` seconds."""
        heard, self._heard = self._heard, None
        return heard or self._orders.wait(timeout)

    def _obey(self, frame: Frame) -> None:
        if frame["type"] == "resume":
            places = [(str(topic), int(partition)) for topic, partition in frame["partitions"]]
            self.poller.beginnings.order(places, str(frame["to"]))
        elif frame["type"] == "accused":
            self.engine.quarantine.heard(frame)
        elif frame["type"] == "pause":
            with self.engine.mutex:
                self.engine.on_hold = bool(frame["on"])
            if not frame["on"]:
                self.outcomes.pauses.resumed()
        elif frame["type"] == "breaker":
            self.outcomes.breaker.obey(from_json(BreakerOrder, frame["order"]))
        elif frame["type"] == "flood":
            self.outcomes.flood.obey(from_json(FloodOrder, frame["order"]))

    def _meanwhile(self) -> None:
        """Go on with this thread's duties while a revoke makes it wait."""
        if threading.get_ident() != self._thread:
            return
        self.executor.watch()
        self.outcomes.overdue()
        note_on_board(self.engine)
        order = self._orders.wait(0)
        if order is not None:
            self._heard = order
            self.engine.drain_by = min(self.engine.drain_by, _drain_by(order))

    def _poll(self) -> None:
        self.poller.accept(self.poller.poll(0.02), cell=None)

    def _close(self, stop: Stop) -> None:
        if self.engine.end is not None:
            return
        self._teller.tell()
        if stop.end is End.LEAVE:
            # Without an answer from the brokers there is nothing to leave; with one, a join may be under way.
            never_joined = self.engine.joined_at is None and self.engine.broker_trouble != ""
            self.has_left = self.poller.source.leave() or (never_joined and self.is_first)
        else:
            self.poller.source.close()


def _executor_of(active: Active) -> "type[Executor | TaskExecutor]":
    if not active.is_async:
        return Executor
    from supervisor.worker.tasks import TaskExecutor  # noqa: PLC0415 - 6 ms that other workers' restarts need not pay

    return TaskExecutor


def _drain_by(stop: Stop) -> float:
    """Return when draining must end so that the last commit and the close have their time."""
    return stop.deadline - min(COMMIT_RESERVE, stop.timeout / 3)


def _is_drained(engine: Engine, stop: Stop) -> bool:
    with engine.mutex:
        if engine.lanes.blocked or engine.lanes.busy > _overdue(engine, stop):
            return False
        return engine.outlet is None or not engine.outlet.is_waited_for(engine.owned)


def _overdue(engine: Engine, stop: Stop) -> int:
    """Return how many handlers nobody waits for any more; mutex held."""
    if not stop.overdue:
        return 0
    heads = [lane.head for lane in engine.lanes.working_lanes() if lane.items]
    return sum((*owned.place, message.offset() or 0) in stop.overdue for owned, message in heads)


def _take_baton(engine: Engine, deadline: float) -> None:
    """Make this thread the only one that touches the client: closing while another polls hangs."""
    with engine.mutex:
        while engine.poller is not None and time.monotonic() < deadline:
            engine.progress.wait(0.05)
        if engine.poller is None:
            engine.poller = MAIN
        else:
            engine.fail(ExitCode.ENGINE, "the polling thread did not give way in time")


def _failed(engine: Engine, code: ExitCode, reason: str) -> Ending:
    """Say who fenced us, as far as the broker knows; the one thing a person needs to find the other supervisor."""
    spec = engine.spec
    if code is ExitCode.FENCED:
        host, client = other_member(spec.group.kafka, spec.group.name, spec.instance_id)
        text = f"another member runs as {spec.instance_id}: client {client} on {host}"
        engine.event("worker.fenced", Severity.CRITICAL, text, host=host, client_id=client)
        reason = text
    return Ending(code, reason, is_tidy=False)


def leave_by_force(code: ExitCode) -> None:
    """End without the interpreter's tidying: handler threads may be stuck, and a fatal client hangs in close."""
    logging.shutdown()
    os._exit(code)
