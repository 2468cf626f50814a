"""Real workers with ``async def`` handlers on a real broker."""

import random
import signal
from collections import defaultdict
from functools import partial
from itertools import pairwise

from supervisor.core.exits import ExitCode
from supervisor.core.spec import Ordering
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.conftest import Scale
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec


def _has_done(ledger: Ledger, count: int, total: int) -> bool:
    """Tell whether so many were done, or all: a busy test looks late, and workers are ahead by then."""
    done = ledger.of()
    return len(done) >= count or len({(line[2], line[3]) for line in done}) == total


def test_open_process_and_close_run_on_one_loop_and_a_stop_repeats_nothing(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["0.05"] * 200, key=lambda at: b"%d" % (at % 50))
    group = group_spec(broker.bootstrap, name, (name,), "handlers:Waiting", concurrency=16, ordering=Ordering.KEY)
    first = start(group)
    first.wait(lambda: len(ledger.of()) > 20)

    assert first.stop() == ExitCode.OK
    assert len(ledger.of("closed")) == 1
    second = start(group)
    second.wait(lambda: sum(committed(broker.bootstrap, name, name).values()) == 200)
    assert second.stop("leave") == ExitCode.OK

    assert len(ledger.of()) == len(ledger.places()) == 200
    assert not first.events("handler.blocks_loop")


def test_p2_p3_kill_9_loses_nothing_and_keeps_the_order_of_keys(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, scale: Scale, rng: random.Random
) -> None:
    count = scale.pick(3_000, 60_000)
    create_topic(broker.bootstrap, name, partitions=3)
    produce(broker.bootstrap, name, ["0.003"] * count, key=lambda at: b"%d" % (at * 7919 % 101))
    group = group_spec(
        broker.bootstrap, name, (name,), "handlers:Waiting", concurrency=32, ordering=Ordering.KEY, max_gap=2000
    )
    kills = scale.pick(3, 10)
    for kill in range(kills):
        worker = start(group, incarnation=kill + 1)
        enough = len(ledger.of()) + rng.randrange(1, count // (kills + 1))
        worker.wait(partial(_has_done, ledger, enough, count), timeout=60)
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait(10)
    last = start(group, incarnation=kills + 1)
    last.wait(lambda: sum(committed(broker.bootstrap, name, name).values()) == count, timeout=120)

    assert len(ledger.places()) == count
    order: dict[tuple[int, str], list[int]] = defaultdict(list)
    for _, _, partition, offset, key, _, _ in ledger.of():
        order[partition, key].append(offset)
    for offsets in order.values():
        # A killed worker's successor begins again at or below; what it then does goes up, without a hole.
        wanted = sorted(set(offsets))
        assert all(new <= wanted[wanted.index(old) + 1] for old, new in pairwise(offsets) if old != wanted[-1])
    assert len(ledger.of()) - count <= kills * 3 * 2000


def test_an_async_open_that_fails_is_a_failed_start(broker: RealBroker, name: str, start: Start) -> None:
    create_topic(broker.bootstrap, name)

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:CannotOpen"))
    worker.wait(lambda: worker.process.poll() is not None)

    assert worker.process.returncode == ExitCode.FAILURE
    assert "handler: open()" in worker.of_type("bye")[0]["reason"]


def test_a_handler_whose_close_and_threads_do_not_end_cannot_keep_its_worker(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["x"])
    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:Leaving"))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 1})

    assert worker.stop(timeout=10.0) == ExitCode.OK
    assert "plugin.failed" in worker.log_tail()
