"""Key order over a long way: members join and leave every few seconds, and every record of the way is looked at."""

import random
import time

import pytest

from tests.broker.real import RealBroker
from tests.broker.records import create_topic, end_offsets, produce
from tests.conftest import Scale
from tests.whole.chaos import all_committed, strike_until
from tests.whole.churn import Churn
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.tally import finished, judge, problems

PARTITIONS = 8
KEYS = 2_000
MAX_GAP = 1_000
LENGTHS = (b"1000", b"1000", b"2000", b"6000", b"25000")
OPTIONS = """
workers = {workers}
ordering = "key"
concurrency = 8
max_gap = {max_gap}
protocol = "{protocol}"
restart.initial = "100ms"
restart.max = "300ms"
restart.half_open_after = 0
"""


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("protocol", "share"), [("classic", 1.0), ("consumer", 0.5)])
def test_p1_p2_p3_keys_keep_their_order_while_members_join_and_leave_every_few_seconds(
    broker: RealBroker,
    name: str,
    supervise: Supervise,
    ledger: Ledger,
    rng: random.Random,
    scale: Scale,
    protocol: str,
    share: float,
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    count = round(scale.pick(60_000, 1_000_000) * share)
    kafka = '"heartbeat.interval.ms" = 300' if protocol == "classic" else ""
    shared = {"handler": "Tally", "kafka": kafka, "supervisor": 'orphan_grace = "3s"\nstop_timeout = "8s"'}
    options = {"max_gap": MAX_GAP, "protocol": protocol}
    first = supervise(broker, OPTIONS.format(workers=2, **options), folder="first", called="first", **shared)
    second = supervise(broker, OPTIONS.format(workers=1, **options), folder="second", called="second", **shared)
    first.wait(first.running, what="the first runs")
    lengths = [rng.choice(LENGTHS) for _ in range(997)]
    produce(
        broker.bootstrap,
        name,
        (lengths[at % len(lengths)] for at in range(count)),
        key=lambda at: b"%d" % (at * 7 % KEYS),
    )
    churn = Churn(first, second, name, rng)
    started = time.monotonic()

    strike_until(
        lambda: max(0, count - finished(ledger.folder)),
        churn.strike,
        rng,
        pause=scale.pick(1.5, 3.0),
        timeout=scale.pick(100, 2500),
    )
    churn.settle()
    first.wait(lambda: all_committed(broker, name), 60, what="everything is committed")
    seconds = time.monotonic() - started

    ends = end_offsets(broker.bootstrap, name)
    verdict = judge(ledger.folder, ends)
    print(
        f"{protocol}: {verdict.done} records in {seconds:.0f} s, {dict(churn.done)}, {churn.kills} killed, "
        f"{verdict.repeats} done again"
    )
    assert problems(verdict) == []
    assert verdict.done == count == sum(ends.values())
    # A rebalance repeats what is settled above a record that was still queued, as a death does.
    moves = churn.kills + sum(churn.done.values())
    assert verdict.repeats <= moves * PARTITIONS * MAX_GAP
    assert first.terminate() == 0
    assert second.terminate() == 0
