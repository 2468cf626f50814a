"""A store of keys that does not return: it is seen, and holds up no more than it must."""

import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from supervisor.core.board import H_RUNNABLE, H_WAIT, Wait
from supervisor.core.spec import Ordering
from supervisor.plugin import Produce, Record
from supervisor.plugin.idempotency import Guard, Store
from supervisor.worker import dependencies, process
from tests.waiting import wait_until
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess
from tests.worker.test_idempotency import QUICK, Memory, by_value


class Stuck(Memory):
    """A store in which one hook does not return while it is asked about a certain key, until it is told to."""

    def __init__(self, hook: str, key: str) -> None:
        super().__init__()
        self.hangs = (hook, key)
        self.go_on = threading.Event()
        self.hung = 0

    def _note(self, hook: str, keys: Sequence[str]) -> None:
        super()._note(hook, keys)
        if self.hangs[0] == hook and self.hangs[1] in keys and not self.go_on.is_set():
            self.hung += 1
            self.lock.release()
            try:
                self.go_on.wait(20)
            finally:
                self.lock.acquire()


def guard_of(store: Memory) -> Guard:
    return Guard(Store("memory", store.claim, store.done, store.release), by_value, ttl=60, lease=0.3)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """Give the records that ``test_idempotency`` works, to workers that look at their store often."""
    monkeypatch.setattr(dependencies, "LONGEST_LOOK", 0.02)
    monkeypatch.setattr(process, "STATS_INTERVAL", 0.05)
    cluster = FakeCluster()
    for value in (b"a", b"b", b"a", b"", b"c", b""):
        cluster.add(PLACE, value)
    return cluster


def events(worker: InProcess, name: str) -> list[dict[str, Any]]:
    return [frame for frame in list(worker.link.frames) if frame.get("name") == name]


def test_p8_a_store_that_hangs_is_told_and_the_leases_of_others_are_renewed(
    cluster: FakeCluster,
) -> None:
    store, go_on = Stuck("done", "b"), threading.Event()

    def handler(record: Record) -> Produce | None:
        if record.value == b"c":
            go_on.wait(20)
        return Produce("out", value=record.value) if record.value == b"b" else None

    guard = guard_of(store)
    with InProcess(cluster, handler, guard=guard, breaker=QUICK, concurrency=4, ordering=Ordering.NONE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.outputs.sent and ("claim", ["c"]) in store.calls)
        worker.outputs.confirm(0)
        worker.until(lambda: events(worker, "idempotency.hangs"))
        renewed = store.calls.count(("claim", ["c"]))
        worker.until(lambda: store.calls.count(("claim", ["c"])) >= renewed + 5, 20)

        assert store.hung == 1, "what hangs is not asked again beside it"
        (told,) = events(worker, "idempotency.hangs")
        assert (told["severity"], told["fields"]["store"], told["fields"]["hook"]) == ("critical", "memory", "done")
        store.go_on.set()
        go_on.set()
        worker.until(lambda: worker.engine.counters.settled == 6)
        worker.until(lambda: events(worker, "idempotency.answers"))
        assert len(events(worker, "idempotency.hangs")) == 1
    guard.close()


def test_a_renewal_that_hangs_keeps_no_other_from_being_renewed(cluster: FakeCluster) -> None:
    store = Stuck("claim", "b")
    store.go_on.set()
    guard = guard_of(store)
    for at in (1, 4):
        guard.begin(guard.turn(), (Record(cast("Any", cluster.records[PLACE][at])),))

    store.go_on.clear()
    wait_until(lambda: store.hung)
    wait_until(guard.hanging)
    renewed = store.calls.count(("claim", ["c"]))
    wait_until(lambda: guard.hanging() and store.calls.count(("claim", ["c"])) >= renewed + 5, 20)

    assert store.hung == 1
    store.go_on.set()
    wait_until(lambda: guard.hanging() is None)
    guard.close()


def test_a_store_that_hangs_in_a_handlers_thread_is_told_too(
    cluster: FakeCluster,
) -> None:
    store = Stuck("claim", "a")
    guard = guard_of(store)

    with InProcess(cluster, lambda _record: None, guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: events(worker, "idempotency.hangs"))
        store.go_on.set()
        worker.until(lambda: worker.engine.counters.settled == 6)
    guard.close()


def test_what_only_a_store_that_hangs_holds_up_is_no_stated_wait(
    cluster: FakeCluster,
) -> None:
    store = Stuck("done", "b")
    guard = guard_of(store)

    def handler(record: Record) -> Produce | None:
        return Produce("out", value=record.value) if record.value == b"b" else None

    with InProcess(cluster, handler, guard=guard, breaker=QUICK) as worker:
        words = worker.engine.board.words
        worker.source.assign(PLACE)
        worker.until(lambda: worker.outputs.sent and worker.engine.counters.settled == 5)
        worker.until(lambda: words[H_WAIT] == Wait.SINK)
        worker.outputs.confirm(0)
        worker.until(lambda: words[H_RUNNABLE] > 0 and words[H_WAIT] == Wait.NONE)
        store.go_on.set()
        worker.until(lambda: worker.engine.counters.settled == 6)
        worker.until(lambda: words[H_RUNNABLE] == 0)
    guard.close()
