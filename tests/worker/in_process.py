"""A worker's engine inside the test's own process: real threads, a fake consumer, handlers that are closures."""

import mmap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, cast

from supervisor.core.board import BoardWriter, size
from supervisor.core.spec import End, GroupSpec, Mode, WorkerSpec
from supervisor.kafka.consumer import Source
from supervisor.kafka.outputs import OutputProducer, Told
from supervisor.kafka.topics import DeadLetterTopics
from supervisor.kafka.transactions import TransactionalProducer
from supervisor.link import Link
from supervisor.plugin.active import Active
from supervisor.plugin.decoding import Decoder, decoding, decoding_batch
from supervisor.plugin.guarding import guarding, guarding_batch
from supervisor.plugin.idempotency import Guard
from supervisor.plugin.types import Letter, Produce
from supervisor.worker.delivery import Producers
from supervisor.worker.engine import Engine
from supervisor.worker.orders import Orders, Stop
from supervisor.worker.process import Incarnation
from tests.waiting import wait_until
from tests.worker.direct import group_spec
from tests.worker.fake_source import FakeCluster, FakeSource
from tests.worker.fake_transactions import FakeTransactional

PLACE = ("t", 0)


class FakeLink:
    """Keeps what was sent; while ``is_full`` it takes nothing."""

    lost = is_full = False

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def send(self, kind: str, **members: object) -> bool:
        if not self.is_full:
            self.frames.append({"type": kind, **members})
        return not self.is_full

    def flush_until(self, deadline: float) -> None: ...


class FakeOrders:
    """Hands out the one order that the test gives."""

    other: Callable[[dict[str, Any]], None]

    def __init__(self) -> None:
        self._told = threading.Event()
        self._order: Stop | None = None

    def give(self, order: Stop) -> None:
        self._order = order
        self._told.set()

    def wait(self, timeout: float) -> Stop | None:
        if not self._told.wait(timeout):
            return None
        order, self._order = self._order, None
        if order is None:
            time.sleep(timeout)
        return order


class FakeOutputs:
    """An ``OutputProducer`` and a ``plugin.types.Send``: keeps what it was given until the test confirms it."""

    def __init__(self) -> None:
        self.sent: list[tuple[Produce, Told]] = []
        self.failures: list[str] = []
        self.letters: list[tuple[str, Any]] = []
        self.slow: threading.Event | None = None
        """While it is not set, nothing is known of topics' partitions, and who sends to one waits."""

    def would_ask(self, output: Produce) -> bool:
        return output.partition is not None and self.slow is not None and not self.slow.is_set()

    def send(self, output: Produce, told: Told, *, alone: bool = False) -> None:
        del alone
        if self.slow is not None and output.partition is not None:
            self.slow.wait(20)
        self.sent.append((output, told))

    def confirm(self, at: int, code: str | None = None) -> None:
        """Have the brokers take one, or refuse it."""
        output, told = self.sent[at]
        told(None if code is None else FakeError(code), FakeReport(output.topic))

    def failed(self, code: str, _topic: str) -> None:
        self.failures.append(code)

    def letter(self, topic: str, value: bytes | None, *, headers: Any = (), **_: object) -> "Future[None]":
        del value
        self.letters.append((topic, tuple(headers)))
        future: Future[None] = Future()
        future.set_result(None)
        return future


class FakeError:
    """A delivery report's error."""

    def __init__(self, code: str) -> None:
        self._code = code

    def name(self) -> str:
        return self._code


class FakeReport:
    """A delivery report's message."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        return self._topic


class InProcess:
    """One incarnation; ``crashes`` holds what would have ended the process. Use as a context manager."""

    def __init__(
        self,
        cluster: FakeCluster,
        process: Callable[[Any], object] | None = None,
        *,
        process_batch: Callable[[Any], object] | None = None,
        sink: Callable[[Letter], Any] = lambda _letter: None,
        policy: Callable[[Any], Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
        decode_blocks: Callable[[Any], Any] | None = None,
        fallback: tuple[str, Callable[[Letter], Any]] | None = None,
        guard: Guard | None = None,
        topics: DeadLetterTopics | None = None,
        **changes: Any,
    ) -> None:
        hooks: dict[str, Any] = {"send_dead_letter": [("dlq_kafka", sink), *([fallback] if fallback else [])]}
        if process is not None:
            hooks["process"] = [("handler", process)]
        if process_batch is not None:
            hooks["process_batch"] = [("handler", process_batch)]
        if policy is not None:
            hooks["retry_decision"] = [("policy", policy)]
        if decode is not None:
            decoder = Decoder(decode, decode_blocks)
            hooks["process"] = [(name, decoding(one, decoder)) for name, one in hooks.get("process", ())]
            hooks["process_batch"] = [
                (name, decoding_batch(one, decoder)) for name, one in hooks.get("process_batch", ())
            ]
        if guard is not None:
            hooks["process"] = [(name, guarding(one, guard)) for name, one in hooks.get("process", ())]
            hooks["process_batch"] = [
                (name, guarding_batch(one, guard)) for name, one in hooks.get("process_batch", ())
            ]
        self.spec = worker_spec(group_spec("nowhere", "g", ("t",), "none", **changes))
        cells = self.spec.group.concurrency
        board = BoardWriter(mmap.mmap(-1, size(cells)), cells=cells, pid=1, incarnation=1, now_ns=time.monotonic_ns())
        self.link = FakeLink()
        self._orders = FakeOrders()
        self.crashes: list[BaseException] = []
        self.outputs = FakeOutputs()
        self.transactional = FakeTransactional(cluster)
        made = Producers(
            self.outputs.letter,
            lambda _fail: cast("OutputProducer", self.outputs),
            lambda: cast("TransactionalProducer", self.transactional),
            topics,
        )
        self.parts = Incarnation(
            self.spec, board, cast("Link", self.link), Active(hooks, guard=guard), cast("Orders", self._orders), made
        )
        self.engine: Engine = self.parts.engine
        self.engine.crash = self._crash  # type: ignore[method-assign]
        self.source = FakeSource(cluster, self.parts.poller)
        self._main = threading.Thread(target=self._run, name="main", daemon=True)
        self._joined = False

    def __enter__(self) -> Self:
        self.parts.begin(cast("Source", self.source))
        self._main.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._main.is_alive():
            self.stop(3.0)
        assert kind is not None or not (self.crashes or self.source.problems), (self.crashes, self.source.problems)

    def until(self, condition: Callable[[], object], timeout: float = 5.0) -> None:
        """Wait for a condition, or for the engine's failure."""
        wait_until(lambda: condition() or self.crashes or self.source.problems, timeout, every=0.002)
        assert not self.crashes, self.crashes
        assert not self.source.problems, self.source.problems

    def tell(self, kind: str, **members: object) -> None:
        """Have it obey a frame that is no order to stop."""
        self._orders.other({"type": kind, **members})

    def stop(self, timeout: float = 5.0) -> bool:
        """Tell it to stop as the parent would; return whether all its threads ended."""
        self._orders.give(Stop(End.KEEP, timeout, time.monotonic() + timeout))
        self._main.join(timeout + 3)
        return self._joined

    def _run(self) -> None:
        try:
            self.parts.run()
            self._joined = self.parts.join()
        except BaseException as error:  # noqa: BLE001 - the process would end
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self.crashes.append(error)


def worker_spec(group: GroupSpec) -> WorkerSpec:
    """Return a spec that never leaves this process."""
    return WorkerSpec(
        supervisor="t",
        group=group,
        slot=0,
        incarnation=1,
        mode=Mode.WORK,
        parent_pid=1,
        state_dir="",
        orphan_grace=5.0,
        log_format="text",
        log_level="info",
    )
