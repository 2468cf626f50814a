"""Slots and their places in the group, on a real broker: restart, leave, fencing, late results (P1, P4)."""

from functools import partial

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from supervisor.core.board import Wait
from supervisor.core.spec import Mode, Ordering
from supervisor.kafka.members import Membership, membership
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.waiting import wait_until
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import DirectWorker, group_spec

COOPERATIVE = {"partition.assignment.strategy": "cooperative-sticky", "log_level": 0}
NOBODY = Membership("", ())

# The session timeout stays Kafka's default of 45 s: nothing here may wait for it.


def _pair(broker: RealBroker, name: str, start: Start, **changes: object) -> tuple[DirectWorker, DirectWorker]:
    """Return two members that own two partitions each."""
    create_topic(broker.bootstrap, name, partitions=4)
    produce(broker.bootstrap, name, ["good"] * 40, partition=lambda at: at % 4)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok", **changes)
    first = start(group, slot=0)
    first.wait(lambda: len(first.owned) == 4)
    second = start(group, slot=1)
    second.wait(lambda: len(second.owned) == 2 and len(first.owned) == 2, timeout=30)
    return first, second


@pytest.mark.parametrize("how", ["kill", "keep"])
def test_a_restarted_slot_takes_its_partitions_back_and_nobody_else_hears_of_it(
    broker: RealBroker, name: str, start: Start, how: str
) -> None:
    first, second = _pair(broker, name, start)
    mine, heard = sorted(first.owned), len(second.of_type("assigned"))

    if how == "kill":
        first.kill()
    else:
        assert first.stop("keep") == 0
    again = start(first.spec.group, slot=0, incarnation=2)

    again.wait(lambda: sorted(again.owned) == mine)
    assert len(second.of_type("assigned")) == heard, "no callback in the other member"


def test_stop_with_leave_hands_the_partitions_over_at_once(broker: RealBroker, name: str, start: Start) -> None:
    first, second = _pair(broker, name, start)

    assert first.stop("leave") == 0

    second.wait(lambda: len(second.owned) == 4, timeout=10)


def test_a_dead_slot_leaves_through_an_incarnation_that_only_leaves(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    first, second = _pair(broker, name, start)
    second.wait(lambda: len(ledger.places()) == 40)
    first.kill()
    produce(broker.bootstrap, name, ["more"] * 8, partition=lambda at: at % 4)

    leaver = start(first.spec.group, slot=0, incarnation=2, mode=Mode.LEAVE)

    leaver.wait(lambda: leaver.process.poll() == 0)
    second.wait(lambda: len(second.owned) == 4, timeout=10)
    second.wait(lambda: len(ledger.places()) == 48)


def test_an_incarnation_that_only_leaves_has_left_though_no_offset_was_ever_committed(
    broker: RealBroker, name: str, start: Start
) -> None:
    """The client tells of every partition without an offset, and each such word ends a poll early."""
    create_topic(broker.bootstrap, name, partitions=8)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok")

    leaver = start(group, mode=Mode.LEAVE)
    leaver.wait(lambda: leaver.process.poll() == 0)

    found = membership(AdminClient({"bootstrap.servers": broker.bootstrap}), name, 10)
    assert found is not None
    assert found.members == ()


def test_of_a_topic_that_is_not_there_nothing_is_left_and_nobody_waits(
    broker: RealBroker, name: str, start: Start
) -> None:
    """The client joins no group before a topic is there: to wait for its place only makes a stop long."""
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok")

    leaver = start(group, mode=Mode.LEAVE)
    leaver.wait(lambda: leaver.process.poll() is not None, timeout=60)

    assert leaver.process.poll() == 0
    assert leaver.of_type("bye")[0]["left"] is True


def test_a_worker_that_never_joined_leaves_the_place_of_an_earlier_process_to_another_one(
    name: str, start: Start
) -> None:
    """Nobody answers here: the first of a slot leaves nothing behind, those after it might."""
    group = group_spec("127.0.0.1:1", name, (name,), "handlers:ok")
    said = []
    for incarnation in (1, 2):
        worker = start(group, incarnation=incarnation)
        worker.wait(partial(worker.of_type, "ready"))
        assert worker.stop("leave") == 0
        worker.wait(partial(worker.of_type, "bye"))
        said.append(worker.of_type("bye")[0]["left"])

    assert said == [True, False]


def test_a_worker_whose_join_is_not_answered_yet_does_not_say_that_it_left(
    broker: RealBroker, name: str, start: Start
) -> None:
    """The group waits for a member that does not poll; whoever asked to join is in it, and rests in it."""
    create_topic(broker.bootstrap, name)
    other = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, **COOPERATIVE})
    other.subscribe([name])
    wait_until(lambda: other.poll(0.1) is None and other.assignment(), 20)

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok"))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    worker.wait(lambda: len((membership(admin, name, 10) or NOBODY).members) == 2)
    assert worker.stop("leave") == 0
    worker.wait(partial(worker.of_type, "bye"))

    assert worker.of_type("bye")[0]["left"] is False
    other.close()


def test_p4_an_older_process_of_the_same_name_is_fenced_and_says_by_whom(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok")
    older = start(group, host="a")
    older.wait(lambda: len(older.owned) == 2)

    newer = start(group, host="b")

    older.wait(lambda: older.process.poll() is not None)
    assert older.process.returncode == 76
    (event,) = older.events("worker.fenced")
    assert event["fields"] == {"host": "/127.0.0.1", "client_id": f"t-{name}-0"}
    newer.wait(lambda: len(newer.owned) == 2)
    produce(broker.bootstrap, name, ["good"] * 4, partition=lambda at: at % 2)
    newer.wait(lambda: len(ledger.places()) == 4)


def test_p4_a_second_process_of_a_slot_on_this_host_does_not_get_its_lock(
    broker: RealBroker, name: str, start: Start
) -> None:
    create_topic(broker.bootstrap, name)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok")
    first = start(group)
    first.wait(lambda: first.of_type("hello"))

    second = start(group, incarnation=2)

    second.wait(lambda: second.process.poll() is not None)
    assert second.process.returncode == 75
    assert not second.of_type("hello")
    assert first.process.poll() is None


@pytest.mark.parametrize("ordering", [Ordering.PARTITION, Ordering.KEY])
def test_p1_p2_a_result_that_comes_after_the_revoke_is_not_committed(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, ordering: Ordering
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["sleep:6", "good"], partition=lambda _: 1, key=lambda at: b"%d" % at)
    group = group_spec(
        broker.bootstrap, name, (name,), "handlers:by_value", concurrency=2, revoke_timeout=0.5, ordering=ordering
    )
    first = start(group)
    first.wait(lambda: ledger.of("start"))
    second = start(group, slot=1)
    second.wait(lambda: len(second.owned) == 1 and len(first.owned) == 1, timeout=30)
    slow = next(worker for worker in (first, second) if (name, 1) in worker.owned)

    # Whoever owns the slow record's partition works it to its end; the other one's result counts for nothing.
    slow.wait(lambda: committed(broker.bootstrap, name, name).get(1) == 2, timeout=30)
    commits_of_the_slow = [line for line in ledger.of() if (line[2], line[3]) == (1, 0)]
    assert commits_of_the_slow
    assert first.process.poll() is None


def test_kip_848_members_are_dynamic_and_work_the_same_way(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    first, second = _pair(broker, name, start, protocol="consumer")
    heard = len(second.of_type("assigned"))
    second.wait(lambda: len(ledger.places()) == 40)

    assert first.stop("leave") == 0

    second.wait(lambda: len(second.owned) == 4, timeout=20)
    assert len(second.of_type("assigned")) > heard
    assert ledger.places() == {(partition, offset) for partition in range(4) for offset in range(10)}
    assert len(ledger.of()) == 40, "each record once"


def test_p3_a_partition_that_a_killed_member_was_giving_up_is_found_and_shared_out_again(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["sleep:2", "good"] * 2, partition=lambda at: at // 2)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:by_value", concurrency=2, revoke_timeout=1.0)
    first = start(group)
    first.wait(lambda: len(ledger.of("start")) == 2)
    second = start(group, slot=1)
    first.wait(lambda: first.board and first.board.wait is Wait.REVOKING)
    first.kill()
    first.slot_file.unlink()  # nothing tells the next one: it has to see for itself

    again = start(group, incarnation=2)
    again.wait(lambda: len(again.owned) == 1)
    assert second.owned == [], "one partition is with nobody"

    again.wait(lambda: len(again.owned) + len(second.owned) == 2, timeout=30)
    menders = again.events("group.rejoined") + second.events("group.rejoined")
    assert "a partition belongs to nobody" in menders[0]["text"]
    again.wait(lambda: sum(committed(broker.bootstrap, name, name).values()) == 4, timeout=30)
