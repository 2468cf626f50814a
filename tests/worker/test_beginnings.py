"""Where partitions begin: a first start as configured, and never a jump that nobody decided."""

import threading
import time

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from supervisor.core.board import H_WAIT, Wait
from supervisor.core.spec import CommitSpec, Ordering
from supervisor.plugin.types import Record
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import DirectWorker, group_spec
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

OTHER = ("t", 1)
RANGE = {"partition.assignment.strategy": "range"}
KINDS = pytest.mark.parametrize(
    ("protocol", "kafka"),
    [("classic", {}), ("classic", RANGE), ("consumer", {})],
    ids=["cooperative", "eager", "kip-848"],
)


def _cluster(records: int = 20) -> FakeCluster:
    cluster = FakeCluster()
    for place in (PLACE, OTHER):
        for _ in range(records):
            cluster.add(place, b"good")
    return cluster


def _events(worker: InProcess, name: str) -> list[dict[str, object]]:
    return [frame for frame in worker.link.frames if frame.get("name") == name]


def _order(worker: InProcess, to: str) -> None:
    worker.parts.poller.beginnings.order([PLACE], to)


def test_p1_a_partition_whose_offset_is_gone_stops_alone_and_goes_on_where_an_operator_says() -> None:
    cluster = _cluster()
    cluster.begins[PLACE] = 10
    cluster.committed = {PLACE: 5, OTHER: 0}
    worked: list[tuple[int, int]] = []

    with InProcess(cluster, lambda record: worked.append((record.partition, record.offset))) as worker:
        worker.source.assign(PLACE, OTHER)
        worker.until(lambda: cluster.committed[OTHER] == 20 and worker.engine.stopped)
        worker.until(lambda: worker.engine.board.words[H_WAIT] == Wait.STOPPED)

        (event,) = _events(worker, "partition.out_of_range")
        assert event["fields"] == {"partition": "t/0", "offset": 5, "earliest": 10, "latest": 20}
        assert cluster.committed[PLACE] == 5, "nothing is committed of what is stopped"
        assert {partition for partition, _ in worked} == {1}

        _order(worker, "12")
        worker.until(lambda: cluster.committed[PLACE] == 20)
        assert [offset for partition, offset in worked if partition == 0] == list(range(12, 20))
        assert not worker.engine.stopped
        assert len(_events(worker, "partition.resumed")) == 1


def test_an_order_to_where_there_is_nothing_is_refused_and_says_what_there_is() -> None:
    cluster = _cluster()
    cluster.begins[PLACE] = 10
    cluster.committed = {PLACE: 5}

    with InProcess(cluster, lambda _record: None) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.stopped)
        for nonsense in ("9", "21", "yesterday"):
            _order(worker, nonsense)
            worker.until(lambda: not worker.parts.poller.beginnings._orders)

        assert worker.engine.stopped == {PLACE: "offset 21 was asked for, 10 to 20 are there"}
        assert cluster.committed == {PLACE: 5}


@pytest.mark.parametrize(("policy", "first"), [("earliest", 10), ("latest", 20)])
def test_a_jump_that_the_config_decided_is_made_at_once_and_told(policy: str, first: int) -> None:
    cluster = _cluster()
    cluster.begins[PLACE] = 10
    cluster.committed = {PLACE: 5}
    worked: list[int] = []

    with InProcess(cluster, lambda record: worked.append(record.offset), out_of_range=policy) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed[PLACE] == 20)

        (event,) = _events(worker, "partition.jumped")
        assert event["fields"] == {"partition": "t/0", "offset": 5, "earliest": 10, "latest": 20, "to": first}
        assert worked == list(range(first, 20))


def test_p1_a_jump_back_works_everything_again_and_a_late_result_of_before_counts_for_nothing() -> None:
    """A topic that was made anew: offsets begin at 0 while an old record is still in its handler."""
    cluster = _cluster(6)
    cluster.committed = {PLACE: 0}
    free = threading.Event()

    def process(record: Record) -> None:
        if record.offset == 5:
            free.wait(8)

    with InProcess(cluster, process, concurrency=2, ordering=Ordering.NONE) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed[PLACE] == 5)
        old = worker.engine.owned[PLACE]

        def make_anew() -> None:
            cluster.records[PLACE] = cluster.records[PLACE][:3]
            cluster.ends[PLACE] = 3

        worker.source.script(make_anew)
        worker.until(lambda: worker.engine.stopped)
        _order(worker, "earliest")
        worker.until(lambda: cluster.committed[PLACE] == 3)
        assert old.revoked
        assert worker.engine.owned[PLACE].offsets.position == 3
        free.set()
        worker.until(lambda: not worker.engine.lanes.count)
        assert worker.engine.counters.settled == 5 + 3
        assert cluster.committed[PLACE] == 3


def test_a_partition_that_is_given_up_while_it_is_stopped_is_forgotten() -> None:
    cluster = _cluster()
    cluster.begins[PLACE] = 10
    cluster.committed = {PLACE: 5}

    with InProcess(cluster, lambda _record: None) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.stopped)
        assert worker.source.revoke(PLACE).wait(5)

        assert worker.engine.stopped == {}
        assert cluster.committed == {PLACE: 5}


def test_a_broker_that_does_not_answer_is_asked_again() -> None:
    cluster = _cluster()
    cluster.silent = 1

    with InProcess(cluster, lambda _record: None) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: cluster.committed.get(PLACE) == 20)
        assert cluster.silent == 0


def test_a_group_that_was_told_to_begin_nowhere_waits_for_the_word() -> None:
    cluster = _cluster()

    with InProcess(cluster, lambda _record: None, kafka={"auto.offset.reset": "error"}) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.stopped)
        _order(worker, "latest")

        worker.until(lambda: cluster.committed.get(PLACE) == 20)
        assert worker.engine.counters.settled == 0


def test_a_group_that_begins_at_the_end_commits_it_at_once() -> None:
    """A crash before the first record would otherwise begin at another end."""
    cluster = _cluster()
    ends: list[set[tuple[str, int]]] = []

    with InProcess(cluster, lambda _record: None, kafka={"auto.offset.reset": "latest"}) as worker:
        worker.source.on_commit = lambda _place, _offset: ends.append(set(worker.engine.at_end))
        worker.source.assign(PLACE)

        worker.until(lambda: cluster.committed.get(PLACE) == 20)
        assert ends[0] == set(), "not only once its end was read"
        assert worker.engine.counters.settled == 0


def test_the_clients_word_that_comes_after_a_partition_was_begun_does_not_begin_it_again() -> None:
    cluster = _cluster()
    worked: list[int] = []

    with InProcess(cluster, lambda record: worked.append(record.offset)) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worked) == 20)
        late = worker.source.script(lambda: worker.parts.poller.beginnings.heard(PLACE, None))
        assert late.wait(5)
        cluster.add(PLACE, b"more")

        worker.until(lambda: cluster.committed.get(PLACE) == 21)
        assert worked == list(range(21))
        assert not worker.parts.poller.beginnings._lost


# On the real broker, for what no fake knows: what the client says, and how it may be told where to go on.


def _delete_records(broker: RealBroker, topic: str, before: int) -> None:
    place = TopicPartition(topic, 0, before)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})  # without it the future would never end
    admin.delete_records([place])[place].result(10)


def _stopped(worker: DirectWorker) -> dict[int, str]:
    return {one["partition"]: one["stopped"] for one in worker.stats.get("partitions", ()) if one["stopped"]}


@KINDS
def test_p1_on_a_real_broker_an_offset_out_of_range_stops_one_partition_until_told(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str, kafka: dict[str, str]
) -> None:
    create_topic(broker.bootstrap, name, partitions=3)
    produce(broker.bootstrap, name, ["good"] * 30, partition=lambda at: at % 3)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok", protocol=protocol, kafka=kafka)
    first = start(group)
    first.wait(lambda: committed(broker.bootstrap, name, name) == {0: 10, 1: 10, 2: 10})
    assert first.stop("leave") == 0
    produce(broker.bootstrap, name, ["good"] * 30, partition=lambda at: at % 3)
    _delete_records(broker, name, 15)

    worker = start(group, incarnation=2)
    worker.wait(lambda: _stopped(worker))
    worker.wait(lambda: worker.stats["waits"] == "stopped")
    assert _stopped(worker) == {0: "offset 10 is out of range, 15 to 20 are there"}
    assert len(worker.events("partition.out_of_range")) == 1
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 10, 1: 20, 2: 20})

    worker.send("resume", partitions=[[name, 0]], to="earliest")
    worker.wait(lambda: committed(broker.bootstrap, name, name)[0] == 20)
    assert ledger.offsets(0) == [*range(10), *range(15, 20)]
    assert ledger.offsets(1) == list(range(20)), "the others were not disturbed"
    worker.wait(lambda: not _stopped(worker))


@KINDS
@pytest.mark.parametrize("mode", ["manual", "automatic"])
def test_a_first_start_at_the_end_skips_nothing_when_it_crashes_before_its_first_record(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str, kafka: dict[str, str], mode: str
) -> None:
    create_topic(broker.bootstrap, name, partitions=4)
    produce(broker.bootstrap, name, ["old"] * 20, partition=lambda at: at % 4)
    settings = {**kafka, "auto.offset.reset": "latest", "session.timeout.ms": 6000}
    if protocol == "consumer":
        del settings["session.timeout.ms"]
    group = group_spec(
        broker.bootstrap,
        name,
        (name,),
        "handlers:ok",
        protocol=protocol,
        commit=CommitSpec(mode, 1000, 0.2),
        kafka=settings,
    )
    worker = start(group)
    worker.wait(lambda: committed(broker.bootstrap, name, name) == dict.fromkeys(range(4), 5))
    if protocol == "classic":
        worker.kill()  # a static member comes back at once
    else:
        assert worker.stop("leave") == 0
    produce(broker.bootstrap, name, ["new"] * 8, partition=lambda at: at % 4)

    again = start(group, incarnation=2)

    again.wait(lambda: len(ledger.places()) == 8)
    assert ledger.places() == {(partition, offset) for partition in range(4) for offset in (5, 6)}


@KINDS
def test_a_first_start_at_the_beginning_works_each_record_once(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str, kafka: dict[str, str]
) -> None:
    create_topic(broker.bootstrap, name, partitions=8)
    produce(broker.bootstrap, name, ["good"] * 80, partition=lambda at: at % 8)
    _delete_records(broker, name, 3)  # it need not begin at 0
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok", protocol=protocol, kafka=kafka)

    worker = start(group)
    worker.wait(lambda: committed(broker.bootstrap, name, name) == dict.fromkeys(range(8), 10))

    assert len(ledger.of()) == 77
    assert not worker.events("partition.out_of_range")
    time.sleep(0.3)  # more would come now, if a partition were begun twice
    assert len(ledger.of()) == 77
