from supervisor.core.events import Event, Severity
from supervisor.core.worker_stats import WorkerStats
from supervisor.parent.slots.tallies import Tallies

KEY = ("orders", 0)


def letter(disposition: str) -> Event:
    return Event("record.dead_lettered", Severity.INFO, 0.0, "orders", 0, fields={"disposition": disposition})


def test_letters_of_a_worker_that_did_not_live_to_count_them_are_counted() -> None:
    tallies = Tallies()
    for disposition in ("error", "error", "worker-killed"):
        tallies.hear(letter(disposition))
    tallies.told(KEY, None, WorkerStats(settled=1))

    assert tallies.slots[KEY].letters == {"error": 2, "worker-killed": 1}
    assert tallies.slots[KEY].settled == 1


def test_dispositions_that_a_worker_makes_up_are_bounded() -> None:
    tallies = Tallies()
    for number in range(100):
        tallies.hear(letter(f"d{number}"))

    assert len(tallies.slots[KEY].letters) <= 31
    assert sum(tallies.slots[KEY].letters.values()) == 100
