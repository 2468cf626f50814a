"""``async def`` handlers, run by the real engine's tasks over a fake consumer."""

import asyncio
from collections import defaultdict

from supervisor.core.spec import Ordering
from supervisor.plugin.types import Record
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess


def test_p2_records_of_a_key_are_worked_in_order_with_many_in_flight() -> None:
    cluster = FakeCluster()
    for number in range(2000):
        cluster.add(PLACE, b"%d" % number, b"%d" % (number % 97))
    inside: set[bytes] = set()
    most = 0
    done: dict[bytes, list[int]] = defaultdict(list)

    async def process(record: Record) -> None:
        nonlocal most
        key = record.key or b""
        assert key not in inside
        inside.add(key)
        most = max(most, len(inside))
        await asyncio.sleep(0.001 * (record.offset % 3))
        inside.discard(key)
        done[key].append(record.offset)

    with InProcess(cluster, process, concurrency=32, ordering=Ordering.KEY) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed.get(PLACE) == 2000, 15)

    assert most == 32
    assert all(offsets == sorted(offsets) for offsets in done.values())
    assert sum(map(len, done.values())) == 2000
