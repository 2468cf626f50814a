"""Two supervisors that call themselves the same: the broker fences one, and people are told which other one it is."""

from supervisor.core.snapshot import SlotState
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger, out_of_order


def test_p3_p4_p7_the_older_of_two_supervisors_with_one_name_is_fenced_and_waits(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    older = supervise(broker, "workers = 2", folder="older", called="twin")
    older.wait(lambda: older.shared_out(2), what="one partition each")
    produce(broker.bootstrap, name, ["sleep:0.01"] * 2000, partition=lambda at: at % 2)
    older.wait(lambda: committed(broker.bootstrap, name, name), what="the older one works")
    old_pids = set(older.workers().values())

    newer = supervise(broker, "workers = 2", folder="newer", called="twin")
    newer.wait(newer.running, what="the newer one runs")
    older.wait(lambda: not older.workers(), what="the older one's workers are gone")

    # The older one says why it stands still, with whom it shares its name, and for how long it keeps away.
    for slot in older.slots():
        assert slot.state is SlotState.BACKOFF
        assert "two supervisors are named 'twin'" in slot.reason
        assert f"client twin-{name}-{slot.slot}" in slot.reason
        assert "127.0.0.1" in slot.reason
        assert slot.next_start_in is not None
        assert 40.0 < slot.next_start_in <= 45.0
        assert slot.restarts == 0
    fenced = older.events("worker.fenced")
    assert sorted(event.slot for event in fenced if event.slot is not None) == [0, 1], "one event per fencing"
    assert {event.severity.value for event in fenced} == {"critical"}
    assert {event.fields["client_id"] for event in fenced} == {f"twin-{name}-0", f"twin-{name}-1"}
    assert all("127.0.0.1" in str(event.fields["host"]) for event in fenced)
    assert [event.fields["class"] for event in older.events("worker.exited")] == ["fenced", "fenced"]
    assert "two supervisors are named 'twin'" in older.cli("status").stdout

    # The newer one is left alone and does all the work.
    newer.wait(lambda: committed(broker.bootstrap, name, name) == {0: 1000, 1: 1000}, 60, what="all is committed")
    assert newer.events("worker.exited") == []
    assert ledger.places() == {(partition, offset) for partition in range(2) for offset in range(1000)}
    assert out_of_order(ledger.lines(), by_key=False) == []
    assert {line.pid for line in ledger.lines("done")[-50:]}.isdisjoint(old_pids)

    # To stop the older one takes nothing from the newer one: who was fenced does not leave in the other's name.
    assert older.terminate() == 0
    assert newer.running()
    assert newer.events("worker.exited") == []
    assert newer.terminate() == 0
