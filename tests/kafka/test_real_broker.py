"""The broker that all other tests lean on."""

import shutil
import subprocess
import sys

from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, lag, produce, read_topic
from tests.waiting import is_alive, wait_until

OWNER = """
import time
from tests.broker.real import RealBroker
broker = RealBroker()
broker.start()
print(broker.pid, broker.folder, flush=True)
time.sleep(60)
"""


def test_records_lie_where_they_were_written(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=2)

    produce(
        broker.bootstrap,
        name,
        ["a", "b", None],
        key=lambda index: b"k%d" % index,
        partition=lambda index: index % 2,
        headers=[("h", b"1")],
    )

    stored = read_topic(broker.bootstrap, name)
    assert [(r.partition, r.offset, r.key, r.value) for r in stored] == [
        (0, 0, b"k0", b"a"),
        (0, 1, b"k2", None),
        (1, 0, b"k1", b"b"),
    ]
    assert stored[0].header == {"h": "1"}
    assert end_offsets(broker.bootstrap, name) == {0: 2, 1: 1}


def test_a_group_that_never_was_has_committed_nothing_and_lags_by_all(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["a", "b"])

    assert committed(broker.bootstrap, name, name) == {}
    assert lag(broker.bootstrap, name, name) == 2


def test_an_empty_topic_is_read_at_once(broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name, partitions=3)

    assert read_topic(broker.bootstrap, name) == []


def test_a_killed_broker_comes_back_with_its_records_on_its_port(own_broker: RealBroker, name: str) -> None:
    create_topic(own_broker.bootstrap, name)
    produce(own_broker.bootstrap, name, ["a"])
    first = own_broker.pid

    own_broker.kill()
    own_broker.start()

    assert own_broker.pid != first
    assert [record.value for record in read_topic(own_broker.bootstrap, name)] == [b"a"]


def test_a_broker_dies_with_the_process_that_started_it(broker: RealBroker) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        shown, folder = owner.stdout.readline().split()
        pid = int(shown)
        assert is_alive(pid)

        owner.kill()
        owner.wait(10)

    wait_until(lambda: not is_alive(pid), 5, otherwise="the broker outlived its owner")
    shutil.rmtree(folder)
