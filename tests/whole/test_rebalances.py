"""Deaths in the middle of a rebalance: the partition that was on its way must not stay with nobody."""

import os
import signal

from supervisor.core.board import Wait, read_board
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.chaos import all_committed
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger


def test_p3_a_worker_killed_while_it_gives_a_partition_up_leaves_it_to_somebody(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    first = supervise(broker, 'concurrency = 2\nrevoke_timeout = "60s"', folder="first", called="first")
    first.wait(lambda: first.shared_out(2), what="the first has both")
    produce(broker.bootstrap, name, ["gate:open"] + ["good"] * 9, partition=lambda _: 0)
    produce(broker.bootstrap, name, ["gate:open"] + ["good"] * 9, partition=lambda _: 1)
    first.wait(lambda: len(ledger.lines("start")) == 2, what="it is in a record of each")

    supervise(broker, folder="second", called="second")
    file = first.folder / "run" / f"{name}.0.slot"

    def is_revoking() -> bool:
        board = read_board(file.read_bytes())
        return board is not None and board.wait is Wait.REVOKING

    first.wait(is_revoking, what="the first gives one up")
    pid = first.workers()[0]
    os.kill(pid, signal.SIGKILL)
    ledger.open_gate("open")

    first.wait(lambda: all_committed(broker, name), 10, what="both partitions are worked to their ends")
    assert len(ledger.places()) == 20
