"""Gaps that a broker's log cleaner really made (P1)."""

from supervisor.core.spec import Ordering
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, produce, read_topic
from tests.waiting import wait_until
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec

KEYS = 20
EAGER = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "min.compaction.lag.ms": "0",
    "delete.retention.ms": "0",
}


def _key(at: int) -> bytes:
    return b"%d" % (at % KEYS)


def test_p1_a_compacted_topic_is_worked_to_its_end_whatever_is_missing_in_it(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, config=EAGER)
    for _ in range(10):
        produce(broker.bootstrap, name, ["good"] * 50, key=_key)

    def left() -> int:
        produce(broker.bootstrap, name, ["good"], key=lambda _: b"last")  # rolls the segment before it
        return len(read_topic(broker.bootstrap, name))

    wait_until(lambda: left() < 100, 60, every=0.5)
    (end,) = end_offsets(broker.bootstrap, name).values()

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok", ordering=Ordering.KEY, concurrency=4))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: end})

    done = ledger.offsets(0)
    assert len(done) == len(set(done)) < 150 < end
    assert max(done) == end - 1
